//! What failed at the end of a run, where several things are done whatever becomes of the others.

use anyhow::{Result, anyhow};

/// Does all of them.
///
/// # Errors
/// Everything that failed, in the order in which it was done.
pub(super) fn all(results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let mut failed = results.into_iter().filter_map(Result::err);
    let Some(first) = failed.next() else { return Ok(()) };
    let others: Vec<_> = failed.map(|error| format!("; and {error:#}")).collect();
    if others.is_empty() { Err(first) } else { Err(anyhow!("{first:#}{}", others.concat())) }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn all_that_failed_is_said() {
        let failed = |why: &str| Err(anyhow!("{why}").context("cannot write"));
        let said = |results: Vec<Result<()>>| all(results).map_err(|error| format!("{error:#}"));
        assert_eq!(said(vec![Ok(()), Ok(())]), Ok(()));
        assert_eq!(said(vec![Ok(()), failed("full")]).unwrap_err(), "cannot write: full");
        assert_eq!(
            said(vec![failed("full"), Ok(()), failed("gone")]).unwrap_err(),
            "cannot write: full; and cannot write: gone"
        );
    }

    #[test]
    fn what_fails_keeps_nothing_from_being_done() {
        let mut done = 0;
        let each = (0..3).map(|_| {
            done += 1;
            bail!("it fails");
        });
        assert!(all(each).is_err());
        assert_eq!(done, 3);
    }
}
