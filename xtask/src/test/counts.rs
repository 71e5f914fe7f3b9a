//! Counting tests by what the test harness prints.

use std::ops::AddAssign;

/// How many tests ran, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl Counts {
    /// One check that is no libtest run.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u32::from(passed), failed: u32::from(!passed), ignored: 0 }
    }

    /// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`; None for any other line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, result) = line.split_once("test result: ")?;
        let (_, numbers) = result.split_once(". ")?;
        let mut counts = Self::default();
        for part in numbers.split(';').map(str::trim) {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let slot = match what {
                "passed" => &mut counts.passed,
                "failed" => &mut counts.failed,
                "ignored" => &mut counts.ignored,
                _ => continue,
            };
            *slot = number.parse().ok()?;
        }
        Some(counts)
    }

    /// The sum over a whole output.
    pub(crate) fn of_output(text: &str) -> Self {
        let mut sum = Self::default();
        for counts in text.lines().filter_map(Self::parse) {
            sum += counts;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_result_line_is_read() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered \
                    out; finished in 0.10s";
        assert_eq!(Counts::parse(line), Some(Counts { passed: 5, failed: 2, ignored: 1 }));
        assert_eq!(Counts::parse("test a ... ok"), None);
    }

    #[test]
    fn results_add_up_and_noise_does_not_count() {
        let text = "running 2 tests\r\ntest result: ok. 2 passed; 0 failed; 0 ignored; x\r\n\
                    [1.0] test result: ok. 3 passed; 0 failed; 0 ignored\n5 passed\n";
        assert_eq!(Counts::of_output(text).passed, 5);
    }
}
