//! The SYN hook on one interface: XDP or tcx.

use anyhow::{Context as _, Result, bail};
use aya::programs::links::FdLink;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions, TcAttachType};
use aya::programs::{ProgramError, SchedClassifier, Xdp, XdpMode};
use tracer_common::packet::Link;

use super::load::{Kernel, once};

/// How SYNs are seen on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the network stack.
    XdpGeneric,
    /// tc ingress by bpf_link (Linux 6.6).
    Tcx,
}

impl Mode {
    /// As the `start` record shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

/// The program that is tried first.
pub(super) const fn program(link: Link, mode: Mode) -> &'static str {
    match (mode, link) {
        (Mode::XdpNative | Mode::XdpGeneric, Link::Ethernet) => "tracer_syn_xdp",
        (Mode::XdpNative | Mode::XdpGeneric, Link::RawIp) => "tracer_syn_xdpl3",
        (Mode::Tcx, Link::Ethernet) => "tracer_syn_tcx",
        (Mode::Tcx, Link::RawIp) => "tracer_syn_tcxl3",
    }
}

/// An attached SYN hook; dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    _link: FdLink,
}

impl Kernel {
    /// Attaches the SYN hook to an interface.
    ///
    /// # Errors
    /// Why the kernel or the driver refuses, in the user's terms.
    pub fn attach_syn_hook(
        &mut self,
        name: &str,
        ifindex: u32,
        link: Link,
        mode: Mode,
    ) -> Result<Attachment> {
        let link = match mode {
            Mode::XdpNative => self.attach_xdp(ifindex, link, XdpMode::Driver),
            Mode::XdpGeneric => self.attach_xdp(ifindex, link, XdpMode::Skb),
            Mode::Tcx => self.attach_tcx(name, link),
        };
        link.map(|link| Attachment { _link: link }).map_err(|error| refusal(&error, mode))
    }

    /// Whether the SYN hook could be attached, without doing it where that is felt: an XDP program is
    /// loaded only, since attaching it may reset the link or switch offloads off; tcx is attached
    /// for a moment.
    ///
    /// # Errors
    /// As [`Self::attach_syn_hook`].
    pub fn try_syn_hook(&mut self, name: &str, ifindex: u32, link: Link, mode: Mode) -> Result<()> {
        match mode {
            Mode::Tcx => self.attach_syn_hook(name, ifindex, link, mode).map(drop),
            Mode::XdpNative | Mode::XdpGeneric => {
                self.load_xdp(link).map(drop).map_err(|error| refusal(&error, mode))
            }
        }
    }

    /// Loads the XDP program for a link layer; its name.
    fn load_xdp(&mut self, link: Link) -> Result<&'static str> {
        let name = program(link, Mode::XdpNative);
        let without_frags = match link {
            Link::Ethernet => "tracer_syn_xdp1",
            Link::RawIp => "tracer_syn_xdp1l3",
        };
        match self.program::<Xdp>(name)?.load() {
            // Before 5.18 the kernel knows no BPF_F_XDP_HAS_FRAGS.
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                loaded(self.program::<Xdp>(without_frags)?.load())?;
                Ok(without_frags)
            }
            result => loaded(result).map(|()| name),
        }
    }

    fn attach_xdp(&mut self, ifindex: u32, link: Link, mode: XdpMode) -> Result<FdLink> {
        let name = self.load_xdp(link)?;
        let program: &mut Xdp = self.program(name)?;
        let id = program.attach_to_if_index(ifindex, mode)?;
        // On EINVAL aya falls back to netlink, whose attachment would outlive a killed process.
        program
            .take_link(id)?
            .try_into()
            .ok()
            .context("the kernel takes this program by netlink only, which would outlive tracer")
    }

    fn attach_tcx(&mut self, name: &str, link: Link) -> Result<FdLink> {
        let program: &mut SchedClassifier = self.program(program(link, Mode::Tcx))?;
        loaded(program.load())?;
        let id = program.attach_with_options(
            name,
            TcAttachType::Ingress,
            TcAttachOptions::TcxOrder(aya::programs::links::LinkOrder::first()),
        )?;
        let link: SchedClassifierLink = program.take_link(id)?;
        link.try_into().ok().context("the kernel has no tcx")
    }
}

fn loaded(result: Result<(), ProgramError>) -> Result<()> {
    match once(result) {
        Ok(()) => Ok(()),
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            log::debug!("{verifier_log}");
            bail!("the kernel refuses to load the program: {io_error}")
        }
        Err(error) => Err(error.into()),
    }
}

fn refusal(error: &anyhow::Error, mode: Mode) -> anyhow::Error {
    log::debug!("{}: {error:#}", mode.name());
    let errno = error.chain().find_map(|cause| {
        cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error).or_else(
            || match cause.downcast_ref::<ProgramError>() {
                Some(ProgramError::SyscallError(error)) => error.io_error.raw_os_error(),
                _ => None,
            },
        )
    });
    let why = match errno {
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is on this interface and is left alone".to_owned()
        }
        Some(libc::EOPNOTSUPP) => "the driver does not support it".to_owned(),
        Some(libc::ERANGE) => "the interface's MTU is too large for it".to_owned(),
        Some(libc::ENODEV) => "the interface is gone".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "not permitted (CAP_NET_ADMIN)".to_owned(),
        _ => error.root_cause().to_string().lines().next().unwrap_or_default().to_owned(),
    };
    anyhow::anyhow!("{}: {why}", mode.name())
}
