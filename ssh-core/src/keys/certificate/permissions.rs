use super::CertificateOption;

/// What a certificate that was checked lets its holder do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePermissions {
    pub(super) force_command: Option<Box<str>>,
    pub(super) extensions: Box<[CertificateOption]>,
    pub(super) valid_before: u64,
}

impl CertificatePermissions {
    /// Whether an extension is there. Those that permit something permit it only if they are.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| *extension.name == *name)
    }

    /// Whether connections may be forwarded (`permit-port-forwarding`).
    #[must_use]
    pub fn permits_port_forwarding(&self) -> bool {
        self.has_extension("permit-port-forwarding")
    }

    /// Whether an agent may be forwarded (`permit-agent-forwarding`).
    #[must_use]
    pub fn permits_agent_forwarding(&self) -> bool {
        self.has_extension("permit-agent-forwarding")
    }

    /// Whether X11 may be forwarded (`permit-X11-forwarding`).
    #[must_use]
    pub fn permits_x11_forwarding(&self) -> bool {
        self.has_extension("permit-X11-forwarding")
    }

    /// Whether there may be a terminal (`permit-pty`).
    #[must_use]
    pub fn permits_pty(&self) -> bool {
        self.has_extension("permit-pty")
    }

    /// The only command that may be run (`force-command`), if there is one.
    #[must_use]
    pub fn force_command(&self) -> Option<&str> {
        self.force_command.as_deref()
    }

    /// All extensions, known and unknown.
    #[must_use]
    pub fn extensions(&self) -> &[CertificateOption] {
        &self.extensions
    }

    /// The first second at which the certificate is not valid any more, since 1970; [`u64::MAX`] is never.
    #[must_use]
    pub fn valid_before(&self) -> u64 {
        self.valid_before
    }
}
