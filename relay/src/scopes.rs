//! What a token or a rule allows.

use std::fmt;
use std::str::FromStr;

/// A set of scopes, under the names of the Dev Tunnels service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

/// One scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Make tunnels.
    Create = 1,
    /// Change and delete a tunnel, its ports and its access rules.
    Manage = 2,
    /// Change its ports.
    ManagePorts = 4,
    /// Be its host.
    Host = 8,
    /// Look at its traffic; nothing here uses it.
    Inspect = 16,
    /// Connect to its ports.
    Connect = 32,
}

/// The scopes and their names.
const NAMES: [(Scope, &str); 6] = [
    (Scope::Create, "create"),
    (Scope::Manage, "manage"),
    (Scope::ManagePorts, "manage:ports"),
    (Scope::Host, "host"),
    (Scope::Inspect, "inspect"),
    (Scope::Connect, "connect"),
];

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {0:?}; there are create, manage, manage:ports, host, inspect and connect")]
pub struct UnknownScope(pub String);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);
    /// Every scope.
    pub const ALL: Self = Self(63);

    /// Whether the scope is in the set.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Whether one of the scopes is in the set.
    #[must_use]
    pub fn has_any(self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| self.has(*scope))
    }

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names, split by whatever is no part of one.
    ///
    /// # Errors
    /// [`UnknownScope`].
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        text.split([' ', ',', '+'])
            .filter(|name| !name.is_empty())
            .try_fold(Self::NONE, |all, name| Ok(all.union(name.parse::<Scope>()?.into())))
    }

    /// The names that are known; the others count for nothing.
    #[must_use]
    pub fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names
            .into_iter()
            .filter_map(|name| name.parse::<Scope>().ok())
            .fold(Self::NONE, |all, scope| all.union(scope.into()))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope as u8)
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(scope, _)| *scope).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// As a token carries them: separated by spaces.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = NAMES.iter().filter(|(scope, _)| self.has(*scope)).map(|(_, name)| *name);
        names.next().map_or(Ok(()), |name| f.write_str(name))?;
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets_are_the_same_thing() {
        let scopes = Scopes::parse("host connect,manage:ports").unwrap();
        assert_eq!(scopes.to_string(), "manage:ports host connect");
        assert!(scopes.has(Scope::Host) && !scopes.has(Scope::Manage));
        assert_eq!(Scopes::parse(&Scopes::ALL.to_string()), Ok(Scopes::ALL));
        assert_eq!(Scopes::parse("host root"), Err(UnknownScope("root".into())));
        assert_eq!(Scopes::parse(""), Ok(Scopes::NONE));
        assert_eq!(Scopes::known(["root", "host"]).to_string(), "host");
    }
}
