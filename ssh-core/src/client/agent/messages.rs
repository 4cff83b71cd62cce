//! What goes to an agent and comes back (draft-ietf-sshm-ssh-agent §3 to §5).

use crate::protocol::wire::{Reader, WireError, Write as _};

/// A request is `uint32 length ‖ byte type ‖ …`.
pub(super) fn request_identities() -> Vec<u8> {
    vec![0, 0, 0, 1, REQUEST_IDENTITIES]
}

/// §3.6: key blob, data, flags. The flags choose SHA-2 for RSA keys, which would sign with SHA-1 otherwise.
pub(super) fn sign_request(key: &[u8], algorithm: &str, data: &[u8]) -> Vec<u8> {
    let flags = match algorithm {
        "rsa-sha2-256" => RSA_SHA2_256,
        "rsa-sha2-512" => RSA_SHA2_512,
        _ => 0,
    };
    let mut body = vec![SIGN_REQUEST];
    body.put_string(key);
    body.put_string(data);
    body.put_u32(flags);
    let mut out = Vec::with_capacity(body.len().saturating_add(4));
    out.put_string(&body);
    out
}

/// A key's blob and its comment.
pub(super) type Entry<'a> = (&'a [u8], &'a [u8]);

/// §3.5: the keys, as many as we take.
pub(super) fn identities(reply: &[u8]) -> Result<Vec<Entry<'_>>, Refusal> {
    let mut reader = expect(reply, IDENTITIES_ANSWER)?;
    let count = reader.u32()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        // The count is believed only as far as there are bytes behind it.
        let entry = (reader.string()?, reader.string()?);
        if keys.len() < MAX_KEYS {
            keys.push(entry);
        }
    }
    reader.finish()?;
    Ok(keys)
}

/// §3.6: the signature with the algorithm's name in front.
pub(super) fn signature(reply: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut reader = expect(reply, SIGN_RESPONSE)?;
    let signature = reader.string()?.to_vec();
    reader.finish()?;
    Ok(signature)
}

/// Why a reply is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the agent refused")]
    Refused,
    #[error("the agent's answer is malformed")]
    Malformed,
}

impl From<WireError> for Refusal {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

fn expect(reply: &[u8], number: u8) -> Result<Reader<'_>, Refusal> {
    let mut reader = Reader::new(reply);
    match reader.u8()? {
        FAILURE | EXTENSION_FAILURE => Err(Refusal::Refused),
        found if found == number => Ok(reader),
        _ => Err(Refusal::Malformed),
    }
}

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION_FAILURE: u8 = 28;

/// SSH_AGENT_RSA_SHA2_256 and SSH_AGENT_RSA_SHA2_512.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Keys of an agent that are looked at. No server lets anybody try as many.
const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_laid_out_as_in_the_draft() {
        assert_eq!(request_identities(), [0, 0, 0, 1, 11]);
        for (algorithm, flags) in [("ssh-ed25519", 0), ("rsa-sha2-256", 2), ("rsa-sha2-512", 4)] {
            let request = sign_request(b"KEY", algorithm, b"DATA");
            let expected =
                [&[0, 0, 0, 20, 13, 0, 0, 0, 3][..], b"KEY", &[0, 0, 0, 4], b"DATA", &[0, 0, 0, flags]];
            assert_eq!(request, expected.concat(), "{algorithm}");
        }
    }

    #[test]
    fn replies_are_read_and_not_believed() {
        let mut reply = vec![12, 0, 0, 0, 2];
        for (key, comment) in [("key", "comment"), ("other", "")] {
            reply.put_string(key.as_bytes());
            reply.put_string(comment.as_bytes());
        }
        let keys = identities(&reply).unwrap();
        assert_eq!(keys, [(&b"key"[..], &b"comment"[..]), (b"other", b"")]);
        assert_eq!(identities(&reply[..reply.len() - 1]), Err(Refusal::Malformed));
        assert_eq!(identities(&[12, 0xff, 0xff, 0xff, 0xff]), Err(Refusal::Malformed));
        assert_eq!(identities(&[5]), Err(Refusal::Refused));
        assert_eq!(identities(&[]), Err(Refusal::Malformed));
        assert_eq!(signature(&[14, 0, 0, 0, 1, 7]), Ok(vec![7]));
        assert_eq!(signature(&[14, 0, 0, 0, 1, 7, 0]), Err(Refusal::Malformed));
        assert_eq!(signature(&[12, 0, 0, 0, 0]), Err(Refusal::Malformed));
        assert_eq!(signature(&[28]), Err(Refusal::Refused));
    }

    #[test]
    fn more_keys_than_anybody_needs_are_left_out() {
        let mut reply = vec![12];
        reply.put_u32(1000);
        for _ in 0..2000 {
            reply.put_string(b"");
        }
        assert_eq!(identities(&reply).unwrap().len(), MAX_KEYS);
    }
}
