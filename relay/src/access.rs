//! Who may do what.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::AccessControlEntry;
use crate::scopes::{Scope, Scopes};
use crate::store::Record;
use crate::tokens::{TokenError, Verified};

/// Somebody who asks for something.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where the request comes from.
    pub address: IpAddr,
    /// What it shows.
    pub credential: Credential,
}

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// The operator's secret.
    Admin,
    /// A token that holds.
    Token(Verified),
    /// A token that does not.
    Bad(TokenError),
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It shows nothing, and not everybody may.
    #[error("this needs a token")]
    NoToken,
    /// What it shows does not hold.
    #[error(transparent)]
    BadToken(TokenError),
    /// What it shows is not enough: it needs one of these scopes.
    #[error("the token does not allow this; that takes one with the scope {}", either(*.0))]
    Scope(Scopes),
    /// What it shows is a token, and this takes the operator's secret.
    #[error("the token does not allow this; only the relay's operator may do it, with the admin token")]
    Operator,
}

impl Caller {
    /// The principal; empty for everybody else.
    #[must_use]
    pub fn subject(&self) -> &str {
        match &self.credential {
            Credential::Token(token) => &token.grant.subject,
            Credential::Admin => "admin",
            Credential::None | Credential::Bad(_) => "",
        }
    }

    /// What it may do with a tunnel: what its token gives and what the tunnel's rules give, without what they deny.
    #[must_use]
    pub fn scopes(&self, record: &Record) -> Scopes {
        let own = self.own_scopes(record);
        if self.credential == Credential::Admin {
            return own;
        }
        let entries = record.tunnel.access_control.iter().flat_map(|control| &control.entries);
        let (mut given, mut denied) = (own, Scopes::NONE);
        for entry in entries {
            let scopes = Scopes::known(entry.scopes.iter().map(String::as_str));
            if entry.is_deny {
                denied = if self.is_denied(entry, record) { denied.union(scopes) } else { denied };
            } else {
                given = given.union(scopes.intersection(self.most_by(entry, record)));
            }
        }
        // Whoever may manage could take the denial back, so that is not what it takes away.
        given.without(denied).union(own.intersection(Scope::Manage.into()))
    }

    /// What its token gives by itself, whatever the rules say.
    #[must_use]
    pub(crate) fn own_scopes(&self, record: &Record) -> Scopes {
        match &self.credential {
            Credential::Admin => Scopes::ALL,
            Credential::Token(token) if !token.by_rules => match &token.grant {
                grant if grant.names(record) => grant.scopes,
                grant if grant.tunnel.is_none() && grant.subject == record.owner => grant.scopes,
                _ => Scopes::NONE,
            },
            Credential::Token(_) | Credential::None | Credential::Bad(_) => Scopes::NONE,
        }
    }

    /// Fails unless one of the scopes is there.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn require(&self, record: &Record, scopes: &[Scope]) -> Result<(), Refusal> {
        if self.scopes(record).has_any(scopes) { Ok(()) } else { Err(self.lacks(all_of(scopes))) }
    }

    /// Fails unless it may make tunnels.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn require_create(&self) -> Result<(), Refusal> {
        match &self.credential {
            Credential::Admin => Ok(()),
            Credential::Token(token)
                if token.grant.tunnel.is_none() && token.grant.scopes.has(Scope::Create) =>
            {
                Ok(())
            }
            _ => Err(self.lacks(Scope::Create.into())),
        }
    }

    /// Who it is, for the log.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.credential {
            Credential::Token(token) => {
                format!("{} by token {}", crate::printable(&token.grant.subject), token.id)
            }
            Credential::Admin => "the operator".into(),
            Credential::None | Credential::Bad(_) => "anybody".into(),
        }
    }

    /// Why it is not let in, where it would take one of these scopes.
    pub(crate) fn lacks(&self, scopes: Scopes) -> Refusal {
        self.refused_as(Refusal::Scope(scopes))
    }

    /// Why it gets no token with these scopes.
    pub(crate) fn may_make_no(&self, scopes: Scopes, now: u64) -> Refusal {
        match &self.credential {
            Credential::Token(token) if token.expires <= now => Refusal::BadToken(TokenError::Expired),
            _ => self.lacks(scopes.union(Scope::Manage.into())),
        }
    }

    /// Why it is not let in, where only the operator is.
    pub(crate) fn is_no_operator(&self) -> Refusal {
        self.refused_as(Refusal::Operator)
    }

    fn refused_as(&self, of_a_token: Refusal) -> Refusal {
        match &self.credential {
            Credential::None => Refusal::NoToken,
            Credential::Bad(error) => Refusal::BadToken(*error),
            Credential::Admin | Credential::Token(_) => of_a_token,
        }
    }

    /// What an allowing rule can give to this caller; nothing if it is not about them, or cannot be read. A principal's
    /// token gets no more by its name than it may do with the principal's own tunnels.
    fn most_by(&self, entry: &AccessControlEntry, record: &Record) -> Scopes {
        let listed = match entry.kind.as_str() {
            "Users" => match &self.credential {
                Credential::Token(token) if is_listed(entry, &token.grant.subject) => {
                    let speaks = token.speaks_at(record);
                    let most = token.grant.scopes;
                    let most = if most.has(Scope::Manage) { Scopes::ALL } else { most };
                    return if speaks && !entry.is_inverse { most } else { Scopes::NONE };
                }
                _ => false,
            },
            _ => match self.is_in(entry) {
                Some(listed) => listed,
                None => return Scopes::NONE,
            },
        };
        if listed != entry.is_inverse { Scopes::ALL } else { Scopes::NONE }
    }

    /// Whether a denying rule is about this caller. One that cannot be read is.
    fn is_denied(&self, entry: &AccessControlEntry, record: &Record) -> bool {
        let listed = match (entry.kind.as_str(), &self.credential) {
            ("Users", Credential::Token(token)) => {
                // A name of another tunnel's token excuses nobody.
                is_listed(entry, &token.grant.subject)
                    && !(entry.is_inverse && token.grant.is_elsewhere(record))
            }
            ("Users", _) => false,
            _ => match self.is_in(entry) {
                Some(listed) => listed,
                None => return true,
            },
        };
        listed != entry.is_inverse
    }

    /// Whether a rule that asks for no name lists this caller; none if it cannot be read.
    fn is_in(&self, entry: &AccessControlEntry) -> Option<bool> {
        match entry.kind.as_str() {
            "Anonymous" => Some(true),
            "IPAddressRanges" => {
                let ranges: Result<Vec<IpNet>, _> =
                    entry.subjects.iter().map(|range| parse_range(range)).collect();
                let address = self.address.to_canonical();
                ranges.ok().map(|ranges| ranges.iter().any(|range| range.contains(&address)))
            }
            _ => None,
        }
    }
}

fn is_listed(entry: &AccessControlEntry, subject: &str) -> bool {
    !subject.is_empty() && entry.subjects.iter().any(|name| name == subject)
}

/// A range or an address. One of IPv4 in IPv6's clothes is IPv4's, as are the addresses that it is compared with.
///
/// # Errors
/// It is neither.
pub fn parse_range(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    let range = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse())?;
    let mapped = match range {
        IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Ok(mapped.and_then(|(address, length)| IpNet::new(address.into(), length).ok()).unwrap_or(range))
}

fn all_of(scopes: &[Scope]) -> Scopes {
    scopes.iter().fold(Scopes::NONE, |all, scope| all.union((*scope).into()))
}

/// Scopes of which one is enough, as text.
fn either(scopes: Scopes) -> String {
    scopes.to_string().replace(' ', " or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccessControl, Tunnel};
    use crate::tokens::Grant;

    fn record(entries: Vec<AccessControlEntry>) -> Record {
        let tunnel = Tunnel {
            tunnel_id: "abc".into(),
            access_control: Some(AccessControl { entries }),
            ..Tunnel::default()
        };
        Record { tunnel, owner: "ada".into(), used: 0, generation: Some("second".into()) }
    }

    fn entry(kind: &str, subjects: &[&str], scopes: &[&str]) -> AccessControlEntry {
        AccessControlEntry {
            kind: kind.into(),
            subjects: subjects.iter().map(|text| (*text).into()).collect(),
            scopes: scopes.iter().map(|text| (*text).into()).collect(),
            ..AccessControlEntry::default()
        }
    }

    fn caller(credential: Credential) -> Caller {
        Caller { address: "10.1.2.3".parse().unwrap(), credential }
    }

    fn token(subject: &str, tunnel: Option<&str>, scopes: &str) -> Credential {
        let grant = Grant {
            subject: subject.into(),
            tunnel: tunnel.map(Into::into),
            generation: tunnel.map(|_| "second".into()),
            scopes: Scopes::parse(scopes).unwrap(),
        };
        Credential::Token(Verified { grant, id: "t".into(), expires: 0, parent: None, by_rules: false })
    }

    #[test]
    fn tokens_are_for_their_tunnel_or_their_subject() {
        let record = record(Vec::new());
        for (credential, expected) in [
            (Credential::Admin, Scopes::ALL),
            (Credential::None, Scopes::NONE),
            (token("eve", Some("abc"), "connect"), Scope::Connect.into()),
            (token("ada", Some("other"), "manage"), Scopes::NONE),
            (token("ada", None, "manage host"), Scopes::parse("manage host").unwrap()),
            (token("eve", None, "manage host"), Scopes::NONE),
        ] {
            assert_eq!(caller(credential.clone()).scopes(&record), expected, "{credential:?}");
        }
        assert_eq!(caller(Credential::None).require(&record, &[Scope::Connect]), Err(Refusal::NoToken));
        assert_eq!(
            caller(Credential::Bad(TokenError::Expired)).require(&record, &[Scope::Connect]),
            Err(Refusal::BadToken(TokenError::Expired))
        );
        assert_eq!(
            caller(token("x", Some("abc"), "connect")).require(&record, &[Scope::Host]),
            Err(Refusal::Scope(Scope::Host.into()))
        );
        assert!(caller(token("ada", None, "create")).require_create().is_ok());
        assert!(caller(token("ada", Some("abc"), "create")).require_create().is_err());
    }

    #[test]
    fn rules_give_and_deny() {
        let deny = |mut entry: AccessControlEntry| {
            entry.is_deny = true;
            entry
        };
        let inverse = |mut entry: AccessControlEntry| {
            entry.is_inverse = true;
            entry
        };
        let connects = |credential: Credential, entries: Vec<AccessControlEntry>| {
            caller(credential).scopes(&record(entries)).has(Scope::Connect)
        };
        let everybody = || entry("Anonymous", &[], &["connect"]);
        assert!(connects(Credential::None, vec![everybody()]));
        assert!(connects(token("bob", None, "connect"), vec![entry("Users", &["bob"], &["connect"])]));
        assert!(!connects(token("eve", None, "connect"), vec![entry("Users", &["bob"], &["connect"])]));
        assert!(!connects(Credential::None, vec![entry("Users", &[""], &["connect"])]));
        assert!(connects(Credential::None, vec![entry("IPAddressRanges", &["10.0.0.0/8"], &["connect"])]));
        assert!(!connects(Credential::None, vec![entry("IPAddressRanges", &["192.168.0.1"], &["connect"])]));
        // A denying rule wins, wherever it stands, also over a token.
        let range = || deny(inverse(entry("IPAddressRanges", &["192.168.0.0/16"], &["connect"])));
        assert!(!connects(Credential::None, vec![range(), everybody()]));
        assert!(!connects(token("x", Some("abc"), "connect"), vec![range()]));
        // What cannot be read gives nothing and denies.
        assert!(!connects(Credential::None, vec![entry("Organizations", &["x"], &["connect"])]));
        assert!(!connects(
            Credential::None,
            vec![everybody(), deny(entry("IPAddressRanges", &["nonsense"], &["connect"]))]
        ));
        // Nobody can lock the manager out.
        let all = deny(entry("Anonymous", &[], &["manage", "connect"]));
        assert!(caller(token("ada", None, "manage")).scopes(&record(vec![all])).has(Scope::Manage));
    }
}
