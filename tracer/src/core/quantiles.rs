//! Percentiles of durations in little memory: most hosts have a handful of connections, a few
//! have millions.

use histogram::{Config, Histogram32};

use super::record::Quantiles;
use super::spread::Spread;

/// So many durations are kept as they are before a histogram takes over.
const FEW: usize = 32;
/// Buckets are 2^-5 of their value wide; their middle is within 1.6 % of every value in it.
const GROUPING_POWER: u8 = 5;
/// Durations of 2^48 ns (78 hours) and more share the last bucket; the largest is exact anyhow.
const MAX_POWER: u8 = 48;

/// A set of durations.
#[derive(Clone)]
pub(crate) struct Durations {
    held: Held,
    count: u64,
    max: u64,
}

#[derive(Clone)]
enum Held {
    Few(Vec<u64>),
    /// 1408 counters of 32 bits.
    Many(Box<Histogram32>),
}

impl Default for Durations {
    fn default() -> Self {
        Self { held: Held::Few(Vec::new()), count: 0, max: 0 }
    }
}

impl Durations {
    /// Adds one, in nanoseconds.
    pub(crate) fn record(&mut self, ns: u64) {
        self.count += 1;
        self.max = self.max.max(ns);
        match &mut self.held {
            Held::Few(few) if few.len() < FEW => few.push(ns),
            Held::Few(_) => {
                if let Some(many) = self.promoted() {
                    count(many, ns);
                }
            }
            Held::Many(many) => {
                // Counters of 32 bits must not wrap: all are halved, the shape stays.
                if self.count.is_multiple_of(u64::from(u32::MAX / 2)) {
                    for counter in many.as_mut_slice() {
                        *counter /= 2;
                    }
                }
                count(many, ns);
            }
        }
    }

    /// Adds those of another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        match &other.held {
            Held::Few(few) => {
                for ns in few {
                    self.record(*ns);
                }
            }
            Held::Many(theirs) => {
                let Some(ours) = self.promoted() else {
                    return;
                };
                for (to, from) in ours.as_mut_slice().iter_mut().zip(theirs.as_slice()) {
                    *to = to.saturating_add(*from);
                }
                self.count += other.count;
                self.max = self.max.max(other.max);
            }
        }
    }

    /// The histogram; made of the few if there is none yet.
    fn promoted(&mut self) -> Option<&mut Histogram32> {
        if let Held::Few(few) = &self.held {
            let mut many = empty()?;
            for ns in few {
                count(&mut many, *ns);
            }
            self.held = Held::Many(Box::new(many));
        }
        match &mut self.held {
            Held::Many(many) => Some(many),
            Held::Few(_) => None,
        }
    }

    /// How they spread over wide steps.
    pub(crate) fn spread(&self) -> Spread {
        let mut spread = Spread::default();
        match &self.held {
            Held::Few(few) => few.iter().for_each(|ns| spread.add(*ns, 1)),
            Held::Many(many) => {
                for bucket in many.iter().filter(|bucket| bucket.count() > 0) {
                    let middle = bucket.start() + (bucket.end() - bucket.start()) / 2;
                    spread.add(middle.min(self.max), bucket.count());
                }
            }
        }
        spread
    }

    /// Its percentiles (nearest rank); `None` if it is empty.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        if self.count == 0 {
            return None;
        }
        let [p50, p90, p99] = match &self.held {
            Held::Few(few) => {
                let mut few = few.clone();
                few.sort_unstable();
                [50, 90, 99].map(|percent| {
                    let rank = (few.len() * percent).div_ceil(100).max(1);
                    few.get(rank - 1).copied().unwrap_or(self.max)
                })
            }
            Held::Many(many) => {
                let mut found = [None, None, None];
                // Refused for quantiles outside of 0..=1 only.
                let _ = many.quantile_buckets_into(&[0.50, 0.90, 0.99], &mut found);
                found.map(|bucket| {
                    bucket.map_or(self.max, |bucket| {
                        let middle = bucket.start() + (bucket.end() - bucket.start()) / 2;
                        middle.min(self.max)
                    })
                })
            }
        };
        Some(Quantiles { count: self.count, p50, p90, p99, max: self.max })
    }
}

fn empty() -> Option<Histogram32> {
    // Refused for impossible powers only.
    let config = Config::new(GROUPING_POWER, MAX_POWER).ok()?;
    Some(Histogram32::with_config(&config))
}

fn count(many: &mut Histogram32, ns: u64) {
    // In range after the cut.
    let _ = many.increment(ns.min((1 << MAX_POWER) - 1));
}

#[cfg(test)]
mod tests;
