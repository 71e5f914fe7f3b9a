//! Which hooks there are, and how each is doing.

/// How a hook fared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookStatus {
    /// What it hooks: `inet_sock_set_state`, `syn`, ….
    pub name: &'static str,
    /// How: `tp_btf`, `fexit`, `tracepoint`, `xdp-native`, `xdp-generic`, `tcx`.
    pub mode: &'static str,
    /// On which interface; `None` for hooks of the whole host.
    pub interface: Option<String>,
    /// Whether it is at work.
    pub attached: bool,
    /// Why it was chosen, or why it is not at work.
    pub reason: Option<String>,
}

impl HookStatus {
    /// A hook of the whole host that works.
    #[must_use]
    pub fn attached(name: &'static str, mode: &'static str) -> Self {
        Self { name, mode, interface: None, attached: true, reason: None }
    }

    /// A hook of the whole host that can't be had.
    #[must_use]
    pub fn refused(name: &'static str, mode: &'static str, reason: String) -> Self {
        Self { name, mode, interface: None, attached: false, reason: Some(reason) }
    }
}
