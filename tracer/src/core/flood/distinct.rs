//! How many different ones: the estimate of a HyperLogLog sketch (Flajolet, Fusy, Gandouet, Meunier
//! 2007), with linear counting (Whang, Vander-Zanden, Taylor 1990) while registers are still empty.

use tracer_common::flood::distinct::REGISTERS;

use super::tick::Sketch;

/// A union of sketches: register-wise the largest, so that who comes again is not counted again.
#[derive(Clone, Debug, Default)]
pub(super) struct Union(Option<Box<[u8]>>);

impl Union {
    /// Adds a sketch; one of another size than the kernel side's is ignored.
    pub(super) fn merge(&mut self, sketch: &Sketch) {
        if sketch.0.len() != REGISTERS {
            return;
        }
        match &mut self.0 {
            Some(registers) => {
                for (register, other) in registers.iter_mut().zip(&sketch.0) {
                    *register = (*register).max(*other);
                }
            }
            None => self.0 = Some(sketch.0.clone()),
        }
    }

    /// The estimate; `None` where no sketch was added.
    pub(super) fn estimate(&self) -> Option<u64> {
        self.0.as_deref().map(estimate)
    }
}

/// Different elements that the registers stand for; the standard error is 1.04 / sqrt(registers).
fn estimate(registers: &[u8]) -> u64 {
    let m = registers.len() as f64;
    let empty = registers.iter().filter(|register| **register == 0).count();
    let sum: f64 = registers.iter().map(|register| 2_f64.powi(-i32::from(*register))).sum();
    let alpha = 0.7213 / (1.0 + 1.079 / m);
    let raw = alpha * m * m / sum.max(f64::MIN_POSITIVE);
    // Linear counting is the better one up to about 2.5 elements a register.
    let best = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    best.round() as u64
}
