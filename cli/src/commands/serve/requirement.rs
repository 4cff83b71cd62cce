//! Which methods of login are needed, and which of them together.

use std::fmt;
use std::str::FromStr;

use ssh_core::server::Method;

/// `publickey+password,publickey`: one of the alternatives between commas, each step of it in order, as sshd's
/// `AuthenticationMethods`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    alternatives: Vec<Vec<Method>>,
}

/// A text that is no requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected methods joined by `+`, alternatives by `,`: `publickey+password`; the methods are {METHODS}"
)]
pub(crate) struct BadRequirement;

/// Where a step leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// That was the last.
    Done,
    /// One of these has to follow.
    Next(Vec<Method>),
    /// The step is not one of those that were due.
    NotDue,
}

impl Requirement {
    /// Each of the methods alone is enough.
    pub(super) fn any_of(methods: impl IntoIterator<Item = Method>) -> Self {
        Self { alternatives: methods.into_iter().map(|method| vec![method]).collect() }
    }

    /// Every method that it names.
    pub(super) fn methods(&self) -> impl Iterator<Item = Method> {
        self.alternatives.iter().flatten().copied()
    }

    /// What may come first.
    pub(super) fn first(&self) -> Vec<Method> {
        self.following(&[])
    }

    /// Where it leads if `step` succeeds after all of `before` have.
    pub(super) fn after(&self, before: &[Method], step: Method) -> Progress {
        if !self.following(before).contains(&step) {
            return Progress::NotDue;
        }
        let mut done = before.to_vec();
        done.push(step);
        if self.alternatives.contains(&done) {
            return Progress::Done;
        }
        Progress::Next(self.following(&done))
    }

    fn following(&self, before: &[Method]) -> Vec<Method> {
        let mut found = Vec::new();
        for alternative in &self.alternatives {
            let rest = alternative.strip_prefix(before).and_then(|rest| rest.first());
            found.extend(rest.filter(|method| !found.contains(*method)));
        }
        found
    }
}

impl FromStr for Requirement {
    type Err = BadRequirement;

    fn from_str(text: &str) -> Result<Self, BadRequirement> {
        let alternative = |text: &str| {
            let steps = text.split('+').map(method).collect::<Option<Vec<_>>>()?;
            (steps.len() <= MAX_STEPS).then_some(steps)
        };
        let alternatives =
            text.split(',').map(alternative).collect::<Option<Vec<_>>>().ok_or(BadRequirement)?;
        Ok(Self { alternatives })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alternative =
            |steps: &Vec<Method>| steps.iter().map(|step| step.name()).collect::<Vec<_>>().join("+");
        f.write_str(&self.alternatives.iter().map(alternative).collect::<Vec<_>>().join(","))
    }
}

fn method(name: &str) -> Option<Method> {
    Method::from_name(name).filter(|method| SUPPORTED.contains(method))
}

const SUPPORTED: [Method; 3] = [Method::PublicKey, Method::Password, Method::KeyboardInteractive];
const METHODS: &str = "publickey, password and keyboard-interactive";
/// More make no sense and would take more attempts than a connection has.
const MAX_STEPS: usize = 4;

#[cfg(test)]
mod tests {
    use Method::{KeyboardInteractive, Password, PublicKey};

    use super::*;

    #[test]
    fn steps_lead_on_in_their_order_only() {
        let requirement: Requirement =
            "publickey+password,keyboard-interactive,publickey+publickey".parse().unwrap();
        assert_eq!(requirement.first(), [PublicKey, KeyboardInteractive]);
        assert_eq!(requirement.after(&[], Password), Progress::NotDue);
        assert_eq!(requirement.after(&[], KeyboardInteractive), Progress::Done);
        assert_eq!(requirement.after(&[], PublicKey), Progress::Next(vec![Password, PublicKey]));
        assert_eq!(requirement.after(&[PublicKey], Password), Progress::Done);
        assert_eq!(requirement.after(&[PublicKey], PublicKey), Progress::Done);
        assert_eq!(requirement.after(&[PublicKey], KeyboardInteractive), Progress::NotDue);
        assert_eq!(requirement.after(&[Password], PublicKey), Progress::NotDue);
        assert_eq!(requirement.after(&[PublicKey, Password], Password), Progress::NotDue);
        let longer: Requirement = "publickey,publickey+password".parse().unwrap();
        assert_eq!(longer.after(&[], PublicKey), Progress::Done);
    }

    #[test]
    fn texts_are_read() {
        for text in ["publickey", "publickey+password", "password+publickey,publickey+publickey"] {
            assert_eq!(text.parse::<Requirement>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "+",
            ",",
            "publickey,",
            "publickey+",
            "none",
            "hostbased",
            "PublicKey",
            "a",
            "password+password+password+password+password",
        ] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
