use std::net::IpAddr;
use std::time::SystemTime;

use super::expiry;
use crate::keys::error::shown;
use crate::keys::line_warning::LineProblem;
use crate::keys::{ForwardPermit, SourcePatterns};

/// What stands in front of a key in `authorized_keys`: when it may be used, and for what (sshd(8), "AUTHORIZED_KEYS
/// FILE FORMAT").
///
/// `environment`, `user-rc`, `tunnel` and what is said about touching security keys is known and checked for its form,
/// and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOptions {
    /// `from=`: where the user has to come from.
    pub from: Option<SourcePatterns>,
    /// `expiry-time=`: from then on the key is of no use. The earliest, if there are several.
    pub expires: Option<SystemTime>,
    /// `cert-authority`: the key does not log in itself, but the certificates that it signs do.
    pub cert_authority: bool,
    /// `principals=`: of which a certificate has to name one. Otherwise it has to name the user.
    pub principals: Option<Vec<String>>,
    /// `command=`: what to run instead of what was asked for. Kept for the application; this library runs nothing.
    pub command: Option<String>,
    /// Whether ports may be forwarded at all: not with `restrict` or `no-port-forwarding`.
    pub port_forwarding: bool,
    /// Whether a terminal may be had. For the application, as the next two.
    pub pty: bool,
    /// Whether an agent may be forwarded.
    pub agent_forwarding: bool,
    /// Whether X11 may be forwarded.
    pub x11_forwarding: bool,
    /// `permitopen=`: the only targets to connect to, if there are any.
    pub permit_open: Vec<ForwardPermit>,
    /// `permitlisten=`: the only addresses to listen on, if there are any.
    pub permit_listen: Vec<ForwardPermit>,
}

/// Where and when somebody tries to log in, for options that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginFacts {
    /// Where the peer is. If that is not known, `from=` is never met.
    pub source: Option<IpAddr>,
    /// The time by the wall clock.
    pub now: SystemTime,
}

/// Why an entry that holds the key does not let it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionRefusal {
    /// `from=` does not name the peer's address.
    #[error("its `from=` does not name the source address (names are not looked up)")]
    Source,
    /// `expiry-time=` has passed.
    #[error("its `expiry-time=` has passed")]
    Expired,
}

impl Default for KeyOptions {
    /// Those of a line without options: nothing is limited.
    fn default() -> Self {
        Self {
            from: None,
            expires: None,
            cert_authority: false,
            principals: None,
            command: None,
            port_forwarding: true,
            pty: true,
            agent_forwarding: true,
            x11_forwarding: true,
            permit_open: Vec::new(),
            permit_listen: Vec::new(),
        }
    }
}

impl KeyOptions {
    /// Whether the entry may be used now, from there.
    ///
    /// # Errors
    /// The option that does not allow it.
    pub fn check(&self, facts: LoginFacts) -> Result<(), OptionRefusal> {
        if self.expires.is_some_and(|expires| expires <= facts.now) {
            return Err(OptionRefusal::Expired);
        }
        let from_there = |from: &SourcePatterns| facts.source.is_some_and(|source| from.matches(source));
        if !self.from.as_ref().is_none_or(from_there) {
            return Err(OptionRefusal::Source);
        }
        Ok(())
    }

    /// The options and what stands behind them. Blanks end them, but not inside quotes.
    pub(super) fn parse(line: &str) -> Result<(Self, &str), LineProblem> {
        let mut options = Self::default();
        let mut rest = line;
        loop {
            let (name, value, after) = next_option(rest)?;
            options.apply(name, value)?;
            if let Some(next) = after.strip_prefix(',') {
                rest = next;
                continue;
            }
            // What follows must be a blank: `name=value` without quotes is malformed.
            return match after.strip_prefix([' ', '\t']) {
                Some(key) => Ok((options, key.trim_start_matches([' ', '\t']))),
                None if after.is_empty() => Err(LineProblem::Truncated),
                None => Err(LineProblem::BadOptions),
            };
        }
    }

    /// Later options change what earlier ones said, as in sshd: `restrict,port-forwarding` allows forwarding.
    fn apply(&mut self, name: &str, value: Option<String>) -> Result<(), LineProblem> {
        let name = name.to_ascii_lowercase();
        let bad = || LineProblem::BadOption(shown(name.as_bytes()));
        match (name.as_str(), value) {
            ("restrict", None) => {
                self.port_forwarding = false;
                self.pty = false;
                self.agent_forwarding = false;
                self.x11_forwarding = false;
            }
            ("port-forwarding" | "no-port-forwarding", None) => self.port_forwarding = is_positive(&name),
            ("pty" | "no-pty", None) => self.pty = is_positive(&name),
            ("agent-forwarding" | "no-agent-forwarding", None) => self.agent_forwarding = is_positive(&name),
            ("x11-forwarding" | "no-x11-forwarding", None) => self.x11_forwarding = is_positive(&name),
            ("cert-authority", None) => self.cert_authority = true,
            (name, None) if FLAGS_WITHOUT_EFFECT.contains(&name) => {}
            ("from", Some(list)) if self.from.is_none() => {
                self.from = Some(SourcePatterns::parse(&list).ok_or_else(bad)?);
            }
            ("expiry-time", Some(time)) => {
                let time = expiry::parse(&time).ok_or_else(bad)?;
                self.expires = Some(self.expires.map_or(time, |earlier| earlier.min(time)));
            }
            ("principals", Some(list)) if self.principals.is_none() => {
                self.principals = Some(principals(&list).ok_or_else(bad)?);
            }
            ("command", Some(command)) if self.command.is_none() => self.command = Some(command),
            ("permitopen", Some(permit)) => {
                let permit = ForwardPermit::parse(&permit).ok_or_else(bad)?;
                add_permit(&mut self.permit_open, permit).ok_or_else(bad)?;
            }
            ("permitlisten", Some(permit)) => {
                let permit = ForwardPermit::parse_listen(&permit).ok_or_else(bad)?;
                add_permit(&mut self.permit_listen, permit).ok_or_else(bad)?;
            }
            ("environment", Some(variable)) if is_variable(&variable) => {}
            ("tunnel", Some(device)) if device == "any" || device.parse::<u32>().is_ok() => {}
            (name, _) if is_known(name) => return Err(bad()),
            (name, _) => return Err(LineProblem::UnknownOption(shown(name.as_bytes()))),
        }
        Ok(())
    }
}

/// An option's name, its value if it has one, and what follows it.
fn next_option(line: &str) -> Result<(&str, Option<String>, &str), LineProblem> {
    let name_len = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(line.len());
    let (name, after) = line.split_at_checked(name_len).ok_or(LineProblem::BadOptions)?;
    if name.is_empty() {
        return Err(LineProblem::BadOptions);
    }
    match after.strip_prefix("=\"") {
        Some(quoted) => {
            let (value, after) = parse_quoted(quoted)?;
            Ok((name, Some(value), after))
        }
        None => Ok((name, None, after)),
    }
}

/// The text up to the closing quote, with `\"` undone, and what follows. Other backslashes stand for themselves.
fn parse_quoted(text: &str) -> Result<(String, &str), LineProblem> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at.saturating_add(1)..).unwrap_or_default())),
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    Err(LineProblem::BadOptions)
}

fn principals(list: &str) -> Option<Vec<String>> {
    list.split(',').map(|name| (!name.is_empty()).then(|| name.to_owned())).collect()
}

fn add_permit(permits: &mut Vec<ForwardPermit>, permit: ForwardPermit) -> Option<()> {
    (permits.len() < MAX_PERMITS).then(|| permits.push(permit))
}

fn is_positive(flag: &str) -> bool {
    !flag.starts_with("no-")
}

/// `NAME=value`, where the name is one that a shell could have.
fn is_variable(text: &str) -> bool {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_known(name: &str) -> bool {
    FLAGS_WITHOUT_EFFECT.contains(&name) || OPTIONS_WITH_EFFECT.contains(&name)
}

const FLAGS_WITHOUT_EFFECT: [&str; 6] =
    ["user-rc", "no-user-rc", "touch-required", "no-touch-required", "verify-required", "no-verify-required"];

/// The others, for telling a wrong use from an unknown name.
const OPTIONS_WITH_EFFECT: [&str; 18] = [
    "restrict",
    "port-forwarding",
    "no-port-forwarding",
    "pty",
    "no-pty",
    "agent-forwarding",
    "no-agent-forwarding",
    "x11-forwarding",
    "no-x11-forwarding",
    "cert-authority",
    "from",
    "expiry-time",
    "principals",
    "command",
    "permitopen",
    "permitlisten",
    "environment",
    "tunnel",
];

/// `permitopen=` or `permitlisten=` of one line; as many as OpenSSH takes.
const MAX_PERMITS: usize = 4096;
