//! The `-----BEGIN` armor (RFC 7468, RFC 1421 headers) around private and public keys.

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
    /// How the content is encrypted, where a `Proc-Type: 4,ENCRYPTED` header says that it is: the value of `DEK-Info`
    /// (RFC 1421 §4.6.1), empty without one.
    pub(super) dek_info: Option<&'a [u8]>,
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
        let mut dek_info: &[u8] = b"";
        for line in lines {
            if let Some(end) = marker(line, b"END ") {
                if end != label {
                    return Err(KeyFormatError::BadArmor);
                }
                return Ok(Self { label, dek_info: encrypted.then_some(dek_info), body: decode(&base64)? });
            }
            if line.contains(&b':') {
                encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
                dek_info = line.strip_prefix(b"DEK-Info:").map_or(dek_info, <[u8]>::trim_ascii);
            } else {
                base64.extend_from_slice(line);
            }
        }
        Err(KeyFormatError::BadArmor)
    }
}

/// Armors `body` in lines of `width` characters.
pub(super) fn armor(label: &str, width: usize, body: &[u8]) -> Zeroizing<String> {
    let (begin, end) = (format!("-----BEGIN {label}-----\n"), format!("-----END {label}-----\n"));
    frame(&begin, &end, width, body)
}

/// `body` as base64 in lines of `width` characters, with `begin` in front and `end` behind.
pub(super) fn frame(begin: &str, end: &str, width: usize, body: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(body));
    let width = width.max(1);
    let lines = encoded.len().div_ceil(width);
    let room = encoded.len().saturating_add(lines).saturating_add(begin.len()).saturating_add(end.len());
    // Room for everything, so that no copy of a secret is left behind by a growing buffer.
    let mut out = Zeroizing::new(String::with_capacity(room));
    out.push_str(begin);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(width).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = next;
    }
    out.push_str(end);
    out
}

/// The label of the first block that may hold a key. `None` if there is none.
pub(super) fn label_of(text: &[u8]) -> Option<&[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find_map(|line| marker(line, b"BEGIN ").filter(|label| *label != EC_PARAMETERS))
}

fn marker<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(DASHES)?.strip_prefix(word)?.strip_suffix(DASHES)
}

/// Decodes base64 that has no line feeds.
pub(super) fn decode(base64: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let len = STANDARD.decode_slice(base64, &mut out).map_err(|_| KeyFormatError::BadBase64)?;
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, Option<String>, Vec<u8>);

    fn parts_of(text: &str) -> Result<Parts, KeyFormatError> {
        let pem = Pem::parse(text.as_bytes())?;
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((string(pem.label), pem.dek_info.map(string), pem.body.to_vec()))
    }

    #[test]
    fn rfc7468_text_around_and_headers_are_understood() {
        let plain = "Subject: x\r\n-----BEGIN A KEY-----\r\nAQID\r\nBA==\r\n-----END A KEY-----\r\n\r\n";
        assert_eq!(parts_of(plain), Ok(("A KEY".into(), None, vec![1, 2, 3, 4])));
        let old =
            "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID\n-----END K-----\n";
        assert_eq!(parts_of(old), Ok(("K".into(), Some("AES-128-CBC,00".into()), vec![1, 2, 3])));
        let ec = "-----BEGIN EC PARAMETERS-----\nAQID\n-----END EC PARAMETERS-----\n-----BEGIN E-----\nAQID\n-----END E-----";
        assert_eq!(label_of(ec.as_bytes()), Some(&b"E"[..]));
        assert_eq!(parts_of(ec), Ok(("E".into(), None, vec![1, 2, 3])));
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
            assert_eq!(parts_of(text).unwrap_err(), error, "{text}");
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
