use std::str::FromStr;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::keys::{Curve, KeyKind, SigningKey};

use crate::Outcome;

/// The command line.
pub(crate) struct Arguments {
    pub(crate) side: Side,
    pub(crate) port: u16,
    pub(crate) algorithms: Algorithms,
    pub(crate) key: SignatureAlgorithm,
    pub(crate) mode: Mode,
    pub(crate) extra: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    Large,
    Multi,
    PublicKey,
    KeyboardInteractive,
    PortForward,
    Reconnect,
    Rekey,
    ConcurrentRequests,
    PipeRequest,
    Signals,
    ExtendedData,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" | "(none)" | "none" | "echo" => Self::Echo,
            "large" => Self::Large,
            "multi" => Self::Multi,
            "pkauth" => Self::PublicKey,
            "kbdinteractive" => Self::KeyboardInteractive,
            "portfwd" => Self::PortForward,
            "reconnect" => Self::Reconnect,
            "rekey" => Self::Rekey,
            "concurrent-requests" => Self::ConcurrentRequests,
            "pipe-request" => Self::PipeRequest,
            "signals" => Self::Signals,
            "extended-data" => Self::ExtendedData,
            other => return Err(format!("no mode is called {other}")),
        })
    }
}

/// A session that changes keys often.
const SMALL_REKEY: u64 = 4096;
/// The smallest there is: the key lives for one test.
const RSA_BITS: u32 = 3072;

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let arguments: Vec<String> = arguments.collect();
        let [side, port, kex, key, cipher, mac, rest @ ..] = arguments.as_slice() else {
            return Err(
                "usage: interop-peer <server|client> <port> <kex> <pk> <enc> <mac> [mode] [extra]".into()
            );
        };
        let side = match side.as_str() {
            "server" => Side::Server,
            "client" => Side::Client,
            other => return Err(format!("{other} is neither server nor client").into()),
        };
        let key = SignatureAlgorithm::from_name(key).ok_or("an unknown public key algorithm")?;
        let algorithms = Algorithms::default()
            .with_kex(kex)?
            .with_ciphers(cipher)?
            .with_macs(mac)?
            // The standard combinations have it, and two of these peers speak it with each other.
            .danger_with_cbc_and_plain_macs()
            .with_host_keys(vec![key])
            .with_user_keys(vec![key]);
        let mode = rest.first().map_or(Ok(Mode::Echo), |mode| mode.parse())?;
        Ok(Self { side, port: port.parse()?, algorithms, key, mode, extra: rest.get(1).cloned() })
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if self.mode == Mode::Rekey {
            limits.rekey_bytes = SMALL_REKEY;
        }
        limits
    }

    /// A fresh key of the kind that was asked for.
    pub(crate) fn generate_key(&self) -> Outcome<SigningKey> {
        let kind = match self.key {
            SignatureAlgorithm::Ed25519 => KeyKind::Ed25519,
            SignatureAlgorithm::EcdsaP256 => KeyKind::Ecdsa(Curve::P256),
            SignatureAlgorithm::EcdsaP384 => KeyKind::Ecdsa(Curve::P384),
            SignatureAlgorithm::EcdsaP521 => KeyKind::Ecdsa(Curve::P521),
            _ => KeyKind::Rsa,
        };
        let provider = default_provider();
        Ok(SigningKey::new(&provider.signatures.generate(kind, RSA_BITS)?, provider)?)
    }
}
