//! Whom the program of `--on-alert` runs as: nobody, and with no capability at all.

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid};
use nix::unistd::{setgroups, setresgid, setresuid};

/// User and group `nobody`: the kernel's own default for an id that belongs to nobody
/// (`DEFAULT_OVERFLOWUID` in `include/linux/highuid.h`).
pub(super) const NOBODY: u32 = 65_534;

/// Whom the program runs as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// User and group 65534, no supplementary groups.
    Nobody,
    /// tracer's own user, who is not root: without the right to change to another user there is
    /// none with less.
    Caller(u32),
}

impl Identity {
    /// The least privileged one that this process may become.
    ///
    /// # Errors
    /// It is root's and may not change its user.
    pub(super) fn choose() -> Result<Self> {
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability);
        let what = |error| anyhow::anyhow!("can't read the process's capabilities: {error}");
        if has(Capability::CAP_SETUID).map_err(what)?
            && has(Capability::CAP_SETGID).map_err(what)?
        {
            return Ok(Self::Nobody);
        }
        let ids = getresuid().context("can't tell the process's user")?;
        if [ids.real, ids.effective, ids.saved].iter().any(|id| id.is_root()) {
            bail!(
                "it would run as root: running it as nobody takes CAP_SETUID and CAP_SETGID, \
                 which this root does not have. Give tracer both, or start it as another user"
            );
        }
        Ok(Self::Caller(ids.effective.as_raw()))
    }

    /// For messages: `nobody (uid 65534)`.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Nobody => format!("nobody (uid {NOBODY})"),
            Self::Caller(uid) => format!("tracer's own user (uid {uid})"),
        }
    }

    /// Becomes it, for good: `no_new_privs`, every capability set empty (the bounding set where
    /// that is allowed; without CAP_SETPCAP `no_new_privs` sees to it that nothing comes back),
    /// then looks whether it is so. For a process with one thread.
    ///
    /// # Errors
    /// The kernel refuses, or something is left; the process must not go on then.
    pub(super) fn assume(self) -> Result<()> {
        let what = |error| anyhow::anyhow!("can't give up capabilities: {error}");
        nix::sys::prctl::set_no_new_privs().context("can't set no_new_privs")?;
        if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(what)? {
            for capability in caps::read(None, CapSet::Bounding).map_err(what)? {
                caps::drop(None, CapSet::Bounding, capability).map_err(what)?;
            }
        }
        caps::clear(None, CapSet::Ambient).map_err(what)?;
        if self == Self::Nobody {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            setgroups(&[]).context("can't give up the supplementary groups")?;
            setresgid(gid, gid, gid).context("can't become group 65534")?;
            setresuid(uid, uid, uid).context("can't become user 65534")?;
        }
        for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            caps::clear(None, set).map_err(what)?;
        }
        for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted, CapSet::Ambient] {
            if !caps::read(None, set).map_err(what)?.is_empty() {
                bail!("the kernel left capabilities in the {set:?} set");
            }
        }
        if self == Self::Nobody {
            let uids = getresuid().context("can't tell the user")?;
            let gids = getresgid().context("can't tell the group")?;
            let groups = getgroups().context("can't tell the groups")?;
            let is_nobody = [uids.real, uids.effective, uids.saved].iter().all(is(NOBODY))
                && [gids.real, gids.effective, gids.saved].iter().all(|id| id.as_raw() == NOBODY)
                && groups.is_empty();
            if !is_nobody {
                bail!("the kernel did not make the process nobody's");
            }
        }
        Ok(())
    }
}

fn is(wanted: u32) -> impl Fn(&Uid) -> bool {
    move |id| id.as_raw() == wanted
}
