//! What the management API speaks of, as JSON in camelCase. Fields without a value are left out, as the SDKs want it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;

/// The one cluster of this relay. SDKs need some id of 3 to 12 characters.
pub const CLUSTER: &str = "local";

/// A tunnel: what a host offers and clients connect to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tunnel {
    /// 3 to 49 of `a-z 0-9 -`, no hyphen at the ends.
    pub tunnel_id: String,
    /// Always [`CLUSTER`].
    pub cluster_id: String,
    /// Another name to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// To find tunnels by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
    /// Seconds without a host after which the tunnel goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_expiration: Option<u64>,
    /// Who may do what, beside the holders of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_control: Option<AccessControl>,
    /// Tokens, in answers alone and for the scopes that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_tokens: Option<BTreeMap<String, String>>,
    /// What is going on, in answers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TunnelStatus>,
    /// At most one for now: a new host replaces the old one's.
    pub endpoints: Vec<Endpoint>,
    /// By number.
    pub ports: Vec<Port>,
    /// When it was made.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub created: Option<OffsetDateTime>,
    /// When it goes unless it is used.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expiration: Option<OffsetDateTime>,
}

/// A port that a tunnel offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Always [`CLUSTER`] in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The tunnel's id in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<String>,
    /// 1 to 65535.
    pub port_number: u16,
    /// `auto`, `tcp`, `udp`, `rdp`, `http`, `https`, `ssh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// To find ports by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
    /// Stored and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_control: Option<AccessControl>,
    /// Tokens, in answers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_tokens: Option<BTreeMap<String, String>>,
}

/// Where a host of a tunnel is met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Unique for each host object.
    pub id: String,
    /// Unique for each host process.
    pub host_id: String,
    /// Always `TunnelRelay`.
    pub connection_mode: String,
    /// Base64 of the host keys' public blobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_public_keys: Option<Vec<String>>,
    /// Where the host dials, in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_relay_uri: Option<String>,
    /// Where clients dial, in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_relay_uri: Option<String>,
}

/// Rules about who may do what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessControl {
    /// A denying rule wins over every allowing one.
    pub entries: Vec<AccessControlEntry>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessControlEntry {
    /// `Anonymous`, `Users` or `IPAddressRanges`; others match nobody.
    #[serde(rename = "type")]
    pub kind: String,
    /// It takes away instead of giving.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_deny: bool,
    /// It is about everybody who is not a subject.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_inverse: bool,
    /// Users' names, or CIDR ranges.
    pub subjects: Vec<String>,
    /// What it is about: `connect`, `host`, `manage`, ….
    pub scopes: Vec<String>,
    /// Whatever else SDKs send; stored and given back.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What is going on in a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TunnelStatus {
    /// Ports that are offered.
    pub port_count: u32,
    /// Hosts that are connected: 0 or 1.
    pub host_connection_count: u32,
    /// Clients that are connected.
    pub client_connection_count: u32,
}

/// A list, as the API wraps it.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// The items.
    pub value: Vec<T>,
}

/// Whether this may be the id of a tunnel.
#[must_use]
pub fn is_tunnel_id(text: &str) -> bool {
    (3..=49).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_left_out() {
        let tunnel = Tunnel { tunnel_id: "abc".into(), cluster_id: CLUSTER.into(), ..Tunnel::default() };
        let json = serde_json::to_string(&tunnel).unwrap();
        assert_eq!(json, r#"{"tunnelId":"abc","clusterId":"local","endpoints":[],"ports":[]}"#);
    }

    #[test]
    fn a_request_of_an_sdk_is_read() {
        let json = r#"{"tunnelId":"fun-hill-k2x9b0q","accessControl":{"entries":[{"type":"Anonymous","subjects":[],
            "scopes":["connect"],"provider":"x"}]},"ports":[{"portNumber":3000,"protocol":"auto"}]}"#;
        let tunnel: Tunnel = serde_json::from_str(json).unwrap();
        assert_eq!(tunnel.ports[0].port_number, 3000);
        let entry = &tunnel.access_control.unwrap().entries[0];
        assert_eq!((entry.kind.as_str(), entry.rest["provider"].as_str()), ("Anonymous", Some("x")));
    }

    #[test]
    fn tunnel_ids_are_those_of_the_service() {
        for good in ["abc", "fun-hill-k2x9b0q", &"a".repeat(49)] {
            assert!(is_tunnel_id(good), "{good}");
        }
        for bad in ["", "ab", "-ab", "ab-", "aBc", "a_b", "a/b", "ä-b", &"a".repeat(50)] {
            assert!(!is_tunnel_id(bad), "{bad}");
        }
    }
}
