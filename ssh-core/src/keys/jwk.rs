//! JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::shown;
use super::rsa_numbers::{RsaNumbers, crt_exponents};
use super::{Curve, Half, KeyFormatError, KeyPair, PrivateKey, PublicKey, PublicLine};

/// How the names of the NIST curves are written. Both are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CurveNames {
    /// `P-256`, as registered.
    Registered,
    /// `nistp256`, as SSH has them and Dev Tunnels' TypeScript library needs them.
    Ssh,
}

/// The members that count. Texts with a secret are borrowed, so that no copy of them is made: base64url needs no
/// escapes, and a text with one is refused.
#[derive(Deserialize)]
struct Jwk<'a> {
    kty: &'a str,
    crv: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    d: Option<&'a str>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    qi: Option<&'a str>,
    oth: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    comment: Option<Cow<'a, str>>,
}

/// Parses a private key.
pub(super) fn parse(text: &[u8]) -> Result<KeyPair, KeyFormatError> {
    let jwk = Jwk::read(text)?;
    if jwk.d.is_none() {
        return Err(KeyFormatError::IsPublic);
    }
    Ok(KeyPair::new(jwk.private()?, jwk.comment.as_deref().unwrap_or_default()))
}

/// Parses a public key.
pub(super) fn parse_public(text: &[u8]) -> Result<PublicLine, KeyFormatError> {
    let jwk = Jwk::read(text)?;
    if jwk.d.is_some() {
        return Err(KeyFormatError::IsPrivate);
    }
    Ok(PublicLine::new(jwk.public()?, jwk.comment.as_deref().unwrap_or_default()))
}

/// Which half a text holds. `None` if it is no JWK.
pub(super) fn half_of(text: &[u8]) -> Option<Half> {
    let jwk = Jwk::read(text).ok()?;
    Some(if jwk.d.is_some() { Half::Private } else { Half::Public })
}

/// Writes a private key.
pub(super) fn write(
    key: &PrivateKey,
    comment: &str,
    names: CurveNames,
) -> Result<Zeroizing<String>, KeyFormatError> {
    let mut out = Object::new();
    out.public(&key.public_key(), names);
    match key {
        PrivateKey::Ed25519 { seed, .. } => out.number("d", &**seed),
        PrivateKey::Ecdsa { d, .. } => out.number("d", d),
        PrivateKey::Rsa { d, p, q, iqmp, .. } => {
            let exponents = crt_exponents(d, p, q)?;
            let members =
                [("d", d), ("p", p), ("q", q), ("dp", &exponents.dp), ("dq", &exponents.dq), ("qi", iqmp)];
            for (name, number) in members {
                out.number(name, number);
            }
        }
    }
    out.comment(comment);
    Ok(out.end())
}

/// Writes a public key.
pub(super) fn write_public(key: &PublicKey, comment: &str, names: CurveNames) -> String {
    let mut out = Object::new();
    out.public(key, names);
    out.comment(comment);
    out.end().to_string()
}

impl<'a> Jwk<'a> {
    fn read(text: &'a [u8]) -> Result<Self, KeyFormatError> {
        // What serde says may quote the text, which is a secret.
        serde_json::from_slice(text).map_err(|_| KeyFormatError::Jwk("the JSON or the type of a member"))
    }

    fn private(&self) -> Result<PrivateKey, KeyFormatError> {
        let d = member(self.d, "d")?;
        match self.public()? {
            PublicKey::Ed25519(public) => {
                let seed = <[u8; 32]>::try_from(d.as_slice()).map_err(|_| KeyFormatError::Jwk("d"))?;
                Ok(PrivateKey::Ed25519 { seed: Zeroizing::new(seed), public })
            }
            PublicKey::Ecdsa { curve, point } => PrivateKey::ecdsa(curve, &d, &point),
            PublicKey::Rsa { e, n } => {
                if self.oth.is_some() {
                    return Err(KeyFormatError::UnsupportedType("RSA with more than two primes".into()));
                }
                let [p, q, iqmp] = [member(self.p, "p")?, member(self.q, "q")?, member(self.qi, "qi")?];
                PrivateKey::rsa(&RsaNumbers { e: &e, n: &n, d: &d, p: &p, q: &q, iqmp: &iqmp })
            }
        }
    }

    fn public(&self) -> Result<PublicKey, KeyFormatError> {
        match (self.kty, self.crv) {
            ("RSA", _) => Ok(PublicKey::rsa(&member(self.e, "e")?, &member(self.n, "n")?)?),
            ("EC", Some("P-256" | "nistp256")) => self.point(Curve::P256),
            ("EC", Some("P-384" | "nistp384")) => self.point(Curve::P384),
            ("EC", Some("P-521" | "nistp521")) => self.point(Curve::P521),
            ("OKP", Some("Ed25519")) => {
                let x = member(self.x, "x")?;
                Ok(PublicKey::Ed25519(x.as_slice().try_into().map_err(|_| KeyFormatError::Jwk("x"))?))
            }
            ("EC" | "OKP", None) => Err(KeyFormatError::Jwk("crv")),
            (kty, crv) => {
                let name = format!("{kty} {}", crv.unwrap_or_default());
                Err(KeyFormatError::UnsupportedType(shown(name.trim().as_bytes())))
            }
        }
    }

    /// Coordinates have the field's length (RFC 7518 §6.2.1.2); Dev Tunnels' writers leave leading zeros out.
    fn point(&self, curve: Curve) -> Result<PublicKey, KeyFormatError> {
        let len = curve.field_len();
        let mut point = vec![4];
        for (value, name) in [(self.x, "x"), (self.y, "y")] {
            let coordinate = member(value, name)?;
            let zeros = len.checked_sub(coordinate.len()).ok_or(KeyFormatError::Jwk(name))?;
            point.extend(std::iter::repeat_n(0, zeros));
            point.extend_from_slice(&coordinate);
        }
        Ok(PublicKey::ecdsa(curve, &point)?)
    }
}

fn member(value: Option<&str>, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let text = value.ok_or(KeyFormatError::Jwk(name))?;
    let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = URL_SAFE_NO_PAD.decode_slice(text, &mut out).map_err(|_| KeyFormatError::Jwk(name))?;
    out.truncate(len);
    Ok(out)
}

/// A JSON object that is being written, a member a line, indented by a tab.
struct Object(Zeroizing<String>);

impl Object {
    fn new() -> Self {
        // The largest RSA key takes 14 KiB, and a comment of 256 characters at most 2 KiB.
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        text.push('{');
        Self(text)
    }

    fn public(&mut self, key: &PublicKey, names: CurveNames) {
        match key {
            PublicKey::Ed25519(x) => {
                self.text("kty", "\"OKP\"");
                self.text("crv", "\"Ed25519\"");
                self.number("x", x);
            }
            PublicKey::Ecdsa { curve, point } => {
                self.text("kty", "\"EC\"");
                self.text("crv", name_of(*curve, names));
                let (x, y) = point
                    .get(1..)
                    .unwrap_or_default()
                    .split_at_checked(curve.field_len())
                    .unwrap_or_default();
                self.number("x", x);
                self.number("y", y);
            }
            PublicKey::Rsa { e, n } => {
                self.text("kty", "\"RSA\"");
                self.number("n", n);
                self.number("e", e);
            }
        }
    }

    /// A member whose value is JSON.
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push_str(value);
    }

    fn number(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.0.push('"');
        URL_SAFE_NO_PAD.encode_string(value, &mut self.0);
        self.0.push('"');
    }

    fn comment(&mut self, comment: &str) {
        if !comment.is_empty() {
            let value = serde_json::Value::from(super::public_line::clean_comment(comment));
            self.text("comment", &value.to_string());
        }
    }

    fn name(&mut self, name: &str) {
        let separator = if self.0.len() == 1 { "\n\t\"" } else { ",\n\t\"" };
        for part in [separator, name, "\": "] {
            self.0.push_str(part);
        }
    }

    fn end(mut self) -> Zeroizing<String> {
        self.0.push_str("\n}\n");
        debug_assert!(self.0.len() <= ROOM);
        self.0
    }
}

const fn name_of(curve: Curve, names: CurveNames) -> &'static str {
    match (names, curve) {
        (CurveNames::Registered, Curve::P256) => "\"P-256\"",
        (CurveNames::Registered, Curve::P384) => "\"P-384\"",
        (CurveNames::Registered, Curve::P521) => "\"P-521\"",
        (CurveNames::Ssh, Curve::P256) => "\"nistp256\"",
        (CurveNames::Ssh, Curve::P384) => "\"nistp384\"",
        (CurveNames::Ssh, Curve::P521) => "\"nistp521\"",
    }
}

const ROOM: usize = 20 * 1024;
