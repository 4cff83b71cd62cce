//! The `-O` options of `adit keygen sign`, which are those of `ssh-keygen`.

use ssh_core::keys::{CertificateBuilder, CertificateKind, CertificateOption};

/// What a certificate is to permit and to demand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CertifiedOptions {
    critical: Vec<CertificateOption>,
    extensions: Vec<CertificateOption>,
}

impl CertifiedOptions {
    /// Users may do what users commonly do, unless options say otherwise. Later options change what earlier ones said.
    ///
    /// # Errors
    /// An option is not known, or not for hosts; what to say about it.
    pub(super) fn new(kind: CertificateKind, texts: &[String]) -> Result<Self, String> {
        let extensions = match kind {
            CertificateKind::User => PERMISSIONS.iter().map(|(name, _)| flag(name)).collect(),
            CertificateKind::Host => Vec::new(),
        };
        let mut options = Self { critical: Vec::new(), extensions };
        for text in texts {
            options.take(text).ok_or_else(|| {
                format!("-O {text:?} is not known or has a bad value; the options are those of `ssh-keygen`")
            })?;
        }
        if kind == CertificateKind::Host && !options.critical.is_empty() {
            return Err("a host's certificate has no critical options; leave out these -O".into());
        }
        Ok(options)
    }

    pub(super) fn apply(&self, builder: CertificateBuilder) -> CertificateBuilder {
        let builder = self.critical.iter().cloned().fold(builder, CertificateBuilder::critical_option);
        self.extensions.iter().cloned().fold(builder, CertificateBuilder::extension)
    }

    fn take(&mut self, text: &str) -> Option<()> {
        if text == "clear" {
            *self = Self { critical: Vec::new(), extensions: Vec::new() };
            return Some(());
        }
        if text == "no-touch-required" {
            put(&mut self.extensions, flag(text));
            return Some(());
        }
        if let Some((extension, _)) = PERMISSIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            put(&mut self.extensions, flag(extension));
            return Some(());
        }
        if let Some((extension, _)) = PERMISSIONS.iter().find(|(_, refusal)| *refusal == text) {
            self.extensions.retain(|option| *option.name != **extension);
            return Some(());
        }
        let (list, option) = match text.split_once(['=', ':'])? {
            ("force-command", value) if !value.is_empty() => {
                (&mut self.critical, CertificateOption::new("force-command", Some(value)))
            }
            ("source-address", value) => (&mut self.critical, CertificateOption::source_address(value)?),
            ("critical", rest) => (&mut self.critical, custom(rest)?),
            ("extension", rest) => (&mut self.extensions, custom(rest)?),
            _ => return None,
        };
        put(list, option);
        Some(())
    }
}

/// `NAME[=VALUE]`
fn custom(text: &str) -> Option<CertificateOption> {
    let option = match text.split_once('=') {
        Some((name, value)) => CertificateOption::new(name, Some(value)),
        None => flag(text),
    };
    (!option.name.is_empty()).then_some(option)
}

fn flag(name: &str) -> CertificateOption {
    CertificateOption::new(name, None)
}

fn put(options: &mut Vec<CertificateOption>, option: CertificateOption) {
    options.retain(|other| other.name != option.name);
    options.push(option);
}

/// Each extension that permits something, and the option that takes it back.
const PERMISSIONS: [(&str, &str); 5] = [
    ("permit-X11-forwarding", "no-x11-forwarding"),
    ("permit-agent-forwarding", "no-agent-forwarding"),
    ("permit-port-forwarding", "no-port-forwarding"),
    ("permit-pty", "no-pty"),
    ("permit-user-rc", "no-user-rc"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: CertificateKind, texts: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let options = CertifiedOptions::new(kind, &texts)?;
        let names = |list: &[CertificateOption]| list.iter().map(|option| option.name.to_string()).collect();
        Ok((names(&options.critical), names(&options.extensions)))
    }

    #[test]
    fn options_add_and_take_away() {
        use CertificateKind::{Host, User};
        let (critical, extensions) = names(User, &["no-x11-forwarding", "no-user-rc", "no-pty"]).unwrap();
        assert_eq!(
            (critical.len(), extensions),
            (0, vec!["permit-agent-forwarding".into(), "permit-port-forwarding".into()])
        );
        let texts = [
            "clear",
            "permit-pty",
            "force-command=a=b",
            "source-address=10.0.0.0/8,::1",
            "critical:x@y=1",
            "extension:z@y",
        ];
        let (critical, extensions) = names(User, &texts).unwrap();
        assert_eq!(critical, ["force-command", "source-address", "x@y"]);
        assert_eq!(extensions, ["permit-pty", "z@y"]);
        assert_eq!(names(Host, &[]).unwrap(), (vec![], vec![]));
        assert!(names(Host, &["force-command=x"]).is_err());
        for bad in [
            "",
            "nonsense",
            "source-address=10.0.0.1/8",
            "source-address=host",
            "force-command=",
            "critical:",
            "critical:=1",
            "x=1",
        ] {
            assert!(names(User, &[bad]).is_err(), "{bad}");
        }
    }
}
