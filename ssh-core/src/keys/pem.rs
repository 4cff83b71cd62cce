//! The `-----BEGIN` armor (RFC 7468, RFC 1421 headers) around every private key format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyFormatError;

const DASHES: &[u8] = b"-----";
/// `openssl ecparam -genkey` writes this block in front of the key; the key repeats what it says.
const EC_PARAMETERS: &[u8] = b"EC PARAMETERS";

/// One armored block.
pub(super) struct Pem<'a> {
    /// What stands between `BEGIN ` and the dashes.
    pub(super) label: &'a [u8],
    /// Whether a `Proc-Type: 4,ENCRYPTED` header stands in front of the base64.
    pub(super) encrypted: bool,
    /// The decoded content.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl<'a> Pem<'a> {
    /// Reads the only block of `text`. Text in front of it is skipped, as other readers do; behind it there may be
    /// only white space.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, KeyFormatError> {
        let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut block = Self::read_block(&mut lines, text.len())?;
        // One such block only: each costs a buffer as large as the text.
        if block.label == EC_PARAMETERS {
            block = Self::read_block(&mut lines, text.len())?;
        }
        if lines.any(|line| !line.is_empty()) {
            return Err(KeyFormatError::Trailing);
        }
        Ok(block)
    }

    fn read_block(lines: &mut impl Iterator<Item = &'a [u8]>, room: usize) -> Result<Self, KeyFormatError> {
        let label = lines.find_map(|line| marker(line, b"BEGIN ")).ok_or(KeyFormatError::NoPrivateKey)?;
        // Room for everything, so that no copy of a secret is left behind by a growing buffer.
        let mut base64 = Zeroizing::new(Vec::with_capacity(room));
        let mut encrypted = false;
        for line in lines {
            if let Some(end) = marker(line, b"END ") {
                if end != label {
                    return Err(KeyFormatError::BadArmor);
                }
                return Ok(Self { label, encrypted, body: decode(&base64)? });
            }
            if line.contains(&b':') {
                encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
            } else {
                base64.extend_from_slice(line);
            }
        }
        Err(KeyFormatError::BadArmor)
    }
}

/// Armors `body` in lines of `width` characters.
pub(super) fn armor(label: &str, width: usize, body: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(body));
    let lines = encoded.len().div_ceil(width.max(1));
    let room =
        encoded.len().saturating_add(lines).saturating_add(label.len().saturating_mul(2)).saturating_add(64);
    let mut out = Zeroizing::new(String::with_capacity(room));
    for part in ["-----BEGIN ", label, "-----\n"] {
        out.push_str(part);
    }
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(width.max(1)).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = next;
    }
    for part in ["-----END ", label, "-----\n"] {
        out.push_str(part);
    }
    out
}

fn marker<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(DASHES)?.strip_prefix(word)?.strip_suffix(DASHES)
}

fn decode(base64: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let len = STANDARD.decode_slice(base64, &mut out).map_err(|_| KeyFormatError::BadBase64)?;
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label_of(text: &str) -> Result<(String, bool, Vec<u8>), KeyFormatError> {
        let pem = Pem::parse(text.as_bytes())?;
        Ok((String::from_utf8(pem.label.to_vec()).unwrap(), pem.encrypted, pem.body.to_vec()))
    }

    #[test]
    fn rfc7468_text_around_and_headers_are_understood() {
        let plain = "Subject: x\r\n-----BEGIN A KEY-----\r\nAQID\r\nBA==\r\n-----END A KEY-----\r\n\r\n";
        assert_eq!(label_of(plain), Ok(("A KEY".into(), false, vec![1, 2, 3, 4])));
        let old =
            "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID\n-----END K-----\n";
        assert_eq!(label_of(old), Ok(("K".into(), true, vec![1, 2, 3])));
        let ec = "-----BEGIN EC PARAMETERS-----\nAQID\n-----END EC PARAMETERS-----\n-----BEGIN E-----\nAQID\n-----END E-----";
        assert_eq!(label_of(ec), Ok(("E".into(), false, vec![1, 2, 3])));
    }

    #[test]
    fn damaged_armor_is_refused() {
        for (text, error) in [
            ("", KeyFormatError::NoPrivateKey),
            ("ssh-ed25519 AAAA", KeyFormatError::NoPrivateKey),
            ("-----BEGIN A-----\nAQID\n", KeyFormatError::BadArmor),
            ("-----BEGIN A-----\nAQID\n-----END B-----\n", KeyFormatError::BadArmor),
            ("-----BEGIN A-----\nAQI\n-----END A-----\n", KeyFormatError::BadBase64),
            ("-----BEGIN A-----\nA*==\n-----END A-----\n", KeyFormatError::BadBase64),
            ("-----BEGIN A-----\nAQID\n-----END A-----\nmore\n", KeyFormatError::Trailing),
        ] {
            assert_eq!(label_of(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn what_is_armored_is_read_back() {
        for len in [0_usize, 1, 51, 52, 53, 500] {
            let body: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let text = armor("X Y", 70, &body);
            assert!(text.lines().all(|line| line.len() <= 70));
            assert_eq!(Pem::parse(text.as_bytes()).unwrap().body.as_slice(), body);
        }
    }
}
