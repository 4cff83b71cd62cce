//! Which format a key is in, and reading it.

use super::error::shown;
use super::pem::{self, Pem};
use super::{
    Half, KdfLimits, KeyFormat, KeyFormatError, KeyPair, MAX_KEY_FILE_LEN, PublicLine, asn1, dek_info, jwk,
    openssh, pbes2, pkcs1, pkcs8, sec1, ssh2,
};

/// What is around a key.
enum Container {
    Jwk,
    Pem,
    Ssh2,
    /// ASN.1 without armor.
    Der,
    /// One line, or nothing that is known.
    Line,
}

impl Container {
    fn of(input: &[u8]) -> Self {
        if input.trim_ascii_start().first() == Some(&b'{') {
            Self::Jwk
        } else if pem::label_of(input).is_some() {
            Self::Pem
        } else if ssh2::half_of(input).is_some() {
            Self::Ssh2
        } else if asn1::label_of(input).is_some() {
            Self::Der
        } else {
            Self::Line
        }
    }
}

impl KeyFormat {
    /// The format that `input` looks like, and the half that it holds. `None` if it is no key that is known. Whether it
    /// is a sound one is for [`KeyPair::parse`] and [`PublicLine::decode`] to say.
    #[must_use]
    pub fn detect(input: &[u8]) -> Option<(Self, Half)> {
        if input.len() > MAX_KEY_FILE_LEN {
            return None;
        }
        match Container::of(input) {
            Container::Jwk => Some((Self::Jwk, jwk::half_of(input)?)),
            Container::Pem => of_label(pem::label_of(input)?),
            Container::Ssh2 => match ssh2::half_of(input)? {
                Half::Private => Some((Self::Ssh2, Half::Private)),
                Half::Public => Some((Self::Rfc4716, Half::Public)),
            },
            Container::Der => of_label(asn1::label_of(input)?),
            Container::Line => PublicLine::parse(input).is_ok().then_some((Self::OpenSsh, Half::Public)),
        }
    }
}

impl KeyPair {
    /// [`parse`](Self::parse) with limits of the caller's own on the work that opening an encrypted key takes.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_within(
        input: &[u8],
        passphrase: Option<&[u8]>,
        limits: &KdfLimits,
    ) -> Result<Self, KeyFormatError> {
        if input.len() > MAX_KEY_FILE_LEN {
            return Err(KeyFormatError::TooLong);
        }
        match Container::of(input) {
            Container::Jwk => jwk::parse(input),
            Container::Ssh2 => ssh2::parse(input, passphrase),
            Container::Pem => {
                let Pem { label, dek_info, body } = Pem::parse(input)?;
                let Some(dek_info) = dek_info else { return parse_body(label, &body, passphrase, limits) };
                // Only these two ever had it.
                if !matches!(label, b"RSA PRIVATE KEY" | b"EC PRIVATE KEY") {
                    return Err(KeyFormatError::UnknownFormat(shown(label)));
                }
                let content = dek_info::decrypt(dek_info, &body, passphrase)?;
                parse_body(label, &content, None, limits).map_err(wrong_if_damaged)
            }
            Container::Der => {
                let label = asn1::label_of(input).ok_or(KeyFormatError::NoPrivateKey)?;
                parse_body(label, input, passphrase, limits)
            }
            Container::Line if PublicLine::blob(input).is_ok() => Err(KeyFormatError::IsPublic),
            Container::Line => Err(KeyFormatError::NoPrivateKey),
        }
    }
}

impl PublicLine {
    /// Reads a public key in any format: one line, RFC 4716, SubjectPublicKeyInfo, PKCS#1 or JWK.
    ///
    /// # Errors
    /// [`KeyFormatError::IsPrivate`] for a private key, whose public half [`KeyPair::public_line`] gives; otherwise
    /// what is wrong.
    pub fn decode(input: &[u8]) -> Result<Self, KeyFormatError> {
        if input.len() > MAX_KEY_FILE_LEN {
            return Err(KeyFormatError::TooLong);
        }
        match Container::of(input) {
            Container::Jwk => jwk::parse_public(input),
            Container::Ssh2 => ssh2::parse_public(input),
            Container::Pem => {
                let Pem { label, body, .. } = Pem::parse(input)?;
                parse_public_body(label, &body)
            }
            Container::Der => {
                parse_public_body(asn1::label_of(input).ok_or(KeyFormatError::NotALine)?, input)
            }
            Container::Line => Self::parse(input),
        }
    }
}

fn of_label(label: &[u8]) -> Option<(KeyFormat, Half)> {
    Some(match label {
        label if label == openssh::LABEL.as_bytes() => (KeyFormat::OpenSsh, Half::Private),
        b"PRIVATE KEY" | b"ENCRYPTED PRIVATE KEY" => (KeyFormat::Pkcs8, Half::Private),
        b"RSA PRIVATE KEY" => (KeyFormat::Pkcs1, Half::Private),
        b"EC PRIVATE KEY" => (KeyFormat::Sec1, Half::Private),
        b"PUBLIC KEY" => (KeyFormat::Pkcs8, Half::Public),
        b"RSA PUBLIC KEY" => (KeyFormat::Pkcs1, Half::Public),
        _ => return None,
    })
}

fn parse_body(
    label: &[u8],
    body: &[u8],
    passphrase: Option<&[u8]>,
    limits: &KdfLimits,
) -> Result<KeyPair, KeyFormatError> {
    let private = match label {
        label if label == openssh::LABEL.as_bytes() => {
            return openssh::parse_body(body, passphrase, limits.bcrypt_rounds);
        }
        b"ENCRYPTED PRIVATE KEY" => {
            let content = pbes2::decrypt(body, passphrase, limits)?;
            pkcs8::parse(&content).map_err(wrong_if_damaged)?
        }
        b"PRIVATE KEY" => pkcs8::parse(body)?,
        b"RSA PRIVATE KEY" => pkcs1::parse(body)?,
        b"EC PRIVATE KEY" => sec1::parse(body)?,
        b"PUBLIC KEY" | b"RSA PUBLIC KEY" => return Err(KeyFormatError::IsPublic),
        label => return Err(KeyFormatError::UnknownFormat(shown(label))),
    };
    Ok(KeyPair::new(private, ""))
}

fn parse_public_body(label: &[u8], body: &[u8]) -> Result<PublicLine, KeyFormatError> {
    let key = match label {
        b"PUBLIC KEY" => pkcs8::parse_public(body)?,
        b"RSA PUBLIC KEY" => pkcs1::parse_public(body)?,
        label => {
            return Err(match of_label(label) {
                Some((_, Half::Private)) => KeyFormatError::IsPrivate,
                _ => KeyFormatError::UnknownFormat(shown(label)),
            });
        }
    };
    Ok(PublicLine::new(key, ""))
}

/// One wrong passphrase in 256 leaves something that looks like padding, and noise in front of it.
fn wrong_if_damaged(error: KeyFormatError) -> KeyFormatError {
    match error {
        KeyFormatError::Asn1(_) => KeyFormatError::WrongPassphrase,
        other => other,
    }
}
