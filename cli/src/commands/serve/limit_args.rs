//! `--limit NAME=VALUE`.

use ssh_core::config::{LimitError, Limits};
use ssh_core::server::DetachedLimits;

use super::limits::GateLimits;
use crate::error::CliError;

/// Everything that may be changed by name.
#[derive(Debug)]
pub(super) struct ServeLimits {
    /// Of each session.
    pub(super) session: Limits,
    /// Of those who have not logged in.
    pub(super) gate: GateLimits,
    /// Of sessions that wait for their clients.
    pub(super) detached: DetachedLimits,
    /// Ports that one session may have listened on.
    pub(super) forwarded_ports: usize,
    /// Failed logins of a source a minute, before it is turned away.
    pub(super) failed_logins: u32,
    /// Lines about one source a second.
    pub(super) log_lines: u32,
    /// Descriptors that connections may not take.
    pub(super) reserved_descriptors: usize,
}

impl ServeLimits {
    pub(super) fn new(session: Limits) -> Self {
        Self {
            session,
            gate: GateLimits::default(),
            detached: DetachedLimits::default(),
            forwarded_ports: 64,
            failed_logins: 30,
            log_lines: 100,
            reserved_descriptors: 64,
        }
    }

    /// Makes the changes of a command line, of which the last counts.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn change(&mut self, changes: &[String]) -> Result<(), CliError> {
        for change in changes {
            let wrong = |why: &str| CliError::usage(format!("--limit {change}: {why}"));
            let (name, value) = change.split_once('=').ok_or_else(|| wrong("it is written NAME=VALUE"))?;
            let value = value.parse().map_err(|_| wrong("the value has to be a whole number"))?;
            self.set(name, value).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let count = u32::try_from(value).ok().filter(|value| *value > 0);
        let place = match name {
            "waiting" => Place::Size(&mut self.gate.waiting),
            "waiting_per_source" => Place::Size(&mut self.gate.waiting_per_source),
            "connections_per_second" => Place::Count(&mut self.gate.per_second),
            "connections_at_once" => Place::Count(&mut self.gate.at_once),
            "parked" => Place::Size(&mut self.detached.count),
            "parked_per_user" => Place::Size(&mut self.detached.count_per_user),
            "parked_per_source" => Place::Size(&mut self.detached.count_per_source),
            "parked_bytes" => Place::Size(&mut self.detached.bytes),
            "wrong_tokens_per_minute" => Place::Count(&mut self.detached.wrong_tokens_per_minute),
            "forwarded_ports" => Place::Size(&mut self.forwarded_ports),
            "failed_logins" => Place::Count(&mut self.failed_logins),
            "log_lines" => Place::Count(&mut self.log_lines),
            "reserved_descriptors" => Place::Size(&mut self.reserved_descriptors),
            "parked_time" => {
                let seconds = count.ok_or_else(|| LimitError::Value(u32::MAX.into()).to_string())?;
                self.detached.offer.lifetime = std::time::Duration::from_secs(seconds.into());
                return Ok(());
            }
            _ => {
                return self.session.set(name, value).map_err(|error| match error {
                    LimitError::Unknown => format!("{error}, {}", NAMES.join(", ")),
                    error => error.to_string(),
                });
            }
        };
        let count = count.ok_or_else(|| LimitError::Value(u32::MAX.into()).to_string())?;
        match place {
            Place::Size(place) => *place = usize::try_from(count).unwrap_or(usize::MAX),
            Place::Count(place) => *place = count,
        }
        Ok(())
    }
}

enum Place<'a> {
    Size(&'a mut usize),
    Count(&'a mut u32),
}

/// Those that are no limits of a session.
const NAMES: &[&str] = &[
    "waiting",
    "waiting_per_source",
    "connections_per_second",
    "connections_at_once",
    "parked",
    "parked_per_user",
    "parked_per_source",
    "parked_bytes",
    "parked_time",
    "wrong_tokens_per_minute",
    "forwarded_ports",
    "failed_logins",
    "log_lines",
    "reserved_descriptors",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_changed_by_name() {
        let state = |limits: &ServeLimits| format!("{limits:?}");
        let before = state(&ServeLimits::new(Limits::default()));
        for name in NAMES.iter().chain(Limits::NAMES) {
            let mut limits = ServeLimits::new(Limits::default());
            limits.change(&[format!("{name}=77")]).unwrap();
            assert_ne!(state(&limits), before, "{name}");
            assert!(limits.change(&[format!("{name}=0")]).is_err(), "{name}");
        }
        let mut limits = ServeLimits::new(Limits::default());
        for bad in ["waiting", "waiting=x", "waiting=-1", "=1"] {
            assert!(limits.change(&[bad.into()]).is_err(), "{bad}");
        }
        let error = limits.change(&["speed=1".into()]).unwrap_err().message;
        assert!(error.contains("parked_per_user") && error.contains("pre_auth_bytes"), "{error}");
        assert_eq!(state(&limits), before);
    }

    /// The values that are documented and promised.
    #[test]
    fn the_defaults_are_those_that_are_promised() {
        let limits = ServeLimits::new(Limits::default());
        let (gate, detached) = (&limits.gate, &limits.detached);
        assert_eq!((gate.waiting, gate.waiting_per_source), (256, 32));
        assert_eq!((gate.per_second, gate.at_once), (20, 100));
        let parked = (detached.count_per_user, detached.count_per_source, detached.count);
        assert_eq!(parked, (8, 16, 1024));
        assert_eq!(detached.offer.lifetime.as_secs(), 5 * 60);
        assert_eq!((limits.forwarded_ports, limits.failed_logins, limits.log_lines), (64, 30, 100));
        assert_eq!((limits.reserved_descriptors, detached.wrong_tokens_per_minute), (64, 10));
    }
}
