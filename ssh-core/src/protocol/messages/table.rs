//! The rows.

use super::field::Field;
use super::{OptionalText, Rest};
use crate::protocol::wire::{NameList, Reader, WireError};

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $number:literal $name:ident $(<$life:lifetime>)? { $( $field:ident : $kind:ty ),* $(,)? }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the fields carry the names of the RFC that the row cites")]
        pub struct $name $(<$life>)? { $( pub $field: $kind ),* }

        impl $(<$life>)? $name $(<$life>)? {
            /// The message number.
            pub const NUMBER: u8 = $number;

            /// Parses a payload, type byte included.
            ///
            /// # Errors
            /// [`WireError`] if it is not exactly this message.
            pub fn decode(payload: &$($life)? [u8]) -> Result<Self, WireError> {
                let mut reader = Reader::new(payload);
                if reader.u8()? != Self::NUMBER {
                    return Err(WireError::BadValue);
                }
                $( let $field = <$kind as Field<'_>>::read(&mut reader)?; )*
                reader.finish()?;
                Ok(Self { $( $field ),* })
            }

            /// Appends the payload, type byte included.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(Self::NUMBER);
                $( Field::write(&self.$field, out); )*
            }
        }
    )*};
}

messages! {
    /// RFC 4253 §11.1. Dev Tunnels peers leave out the language.
    1 Disconnect<'a> { reason: u32, text: &'a [u8], language: OptionalText<'a> }
    /// RFC 4253 §11.2.
    2 Ignore<'a> { data: Rest<'a> }
    /// RFC 4253 §11.4.
    3 Unimplemented { sequence: u32 }
    /// RFC 4253 §11.3.
    4 Debug<'a> { content: Rest<'a> }
    /// RFC 4253 §10.
    5 ServiceRequest<'a> { name: &'a str }
    /// RFC 4253 §10.
    6 ServiceAccept<'a> { name: OptionalText<'a> }
    /// RFC 8308 §2.3: `count` pairs of name and value follow.
    7 ExtInfo<'a> { count: u32, entries: Rest<'a> }
    /// RFC 4253 §7.1. Behind `first_kex_packet_follows` stands a reserved number.
    20 KexInit<'a> {
        cookie: [u8; 16], kex: NameList<'a>, host_key: NameList<'a>,
        cipher_c2s: NameList<'a>, cipher_s2c: NameList<'a>, mac_c2s: NameList<'a>, mac_s2c: NameList<'a>,
        compression_c2s: NameList<'a>, compression_s2c: NameList<'a>,
        language_c2s: NameList<'a>, language_s2c: NameList<'a>,
        first_kex_packet_follows: bool, reserved: u32,
    }
    /// RFC 4253 §7.3.
    21 NewKeys {}
    /// RFC 4253 §8, RFC 5656 §4. The share is an mpint or a string by method; both read as a string here.
    30 KexInitShare<'a> { share: &'a [u8] }
    /// RFC 4253 §8, RFC 5656 §4.
    31 KexReply<'a> { host_key: &'a [u8], share: &'a [u8], signature: &'a [u8] }
    /// RFC 4252 §5: the fields of the method follow.
    50 UserAuthRequest<'a> { user: &'a str, service: &'a str, method: &'a str, fields: Rest<'a> }
    /// RFC 4252 §5.1.
    51 UserAuthFailure<'a> { methods: NameList<'a>, partial_success: bool }
    /// RFC 4252 §5.1.
    52 UserAuthSuccess {}
    /// RFC 4252 §5.4.
    53 UserAuthBanner<'a> { text: &'a [u8], language: OptionalText<'a> }
    /// RFC 4252 §7.
    60 UserAuthPkOk<'a> { algorithm: &'a str, key: &'a [u8] }
    /// RFC 4252 §8: the password has to be changed first. The number is the one of the publickey method's answer.
    60 UserAuthPasswdChangeReq<'a> { prompt: &'a [u8], language: OptionalText<'a> }
    /// RFC 4256 §3.2: `count` prompts follow, each with its echo flag; Dev Tunnels peers write all flags behind all
    /// prompts. The number is shared, too.
    60 UserAuthInfoRequest<'a> {
        name: &'a [u8], instruction: &'a [u8], language: &'a [u8], count: u32, prompts: Rest<'a>,
    }
    /// RFC 4256 §3.4: `count` answers follow.
    61 UserAuthInfoResponse<'a> { count: u32, responses: Rest<'a> }
    /// RFC 4254 §4: the fields of the request follow.
    80 GlobalRequest<'a> { name: &'a str, want_reply: bool, fields: Rest<'a> }
    /// RFC 4254 §4.
    81 RequestSuccess<'a> { fields: Rest<'a> }
    /// RFC 4254 §4. Dev Tunnels' reconnect answers carry fields.
    82 RequestFailure<'a> { fields: Rest<'a> }
    /// RFC 4254 §5.1: the fields of the channel type follow.
    90 ChannelOpen<'a> { kind: &'a str, sender: u32, window: u32, max_packet: u32, fields: Rest<'a> }
    /// RFC 4254 §5.1.
    91 ChannelOpenConfirmation<'a> { recipient: u32, sender: u32, window: u32, max_packet: u32, fields: Rest<'a> }
    /// RFC 4254 §5.1.
    92 ChannelOpenFailure<'a> { recipient: u32, reason: u32, text: &'a [u8], language: OptionalText<'a> }
    /// RFC 4254 §5.2.
    93 ChannelWindowAdjust { recipient: u32, bytes: u32 }
    /// RFC 4254 §5.2.
    94 ChannelData<'a> { recipient: u32, data: &'a [u8] }
    /// RFC 4254 §5.2.
    95 ChannelExtendedData<'a> { recipient: u32, code: u32, data: &'a [u8] }
    /// RFC 4254 §5.3.
    96 ChannelEof { recipient: u32 }
    /// RFC 4254 §5.3.
    97 ChannelClose { recipient: u32 }
    /// RFC 4254 §5.4: the fields of the request follow.
    98 ChannelRequest<'a> { recipient: u32, name: &'a str, want_reply: bool, fields: Rest<'a> }
    /// RFC 4254 §5.4.
    99 ChannelSuccess { recipient: u32 }
    /// RFC 4254 §5.4.
    100 ChannelFailure { recipient: u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_at_its_last_byte() {
        let mut payload = Vec::new();
        ChannelEof { recipient: 7 }.encode(&mut payload);
        assert_eq!(ChannelEof::decode(&payload), Ok(ChannelEof { recipient: 7 }));
        payload.push(0);
        assert_eq!(ChannelEof::decode(&payload), Err(WireError::Trailing));
        assert_eq!(ChannelEof::decode(&payload[..3]), Err(WireError::Truncated));
        assert_eq!(ChannelClose::decode(&payload[..5]), Err(WireError::BadValue));
    }

    #[test]
    fn a_disconnect_without_language_is_read() {
        // As Dev Tunnels peers write it.
        let payload = [1, 0, 0, 0, 11, 0, 0, 0, 1, b'x'];
        let message = Disconnect::decode(&payload).unwrap();
        assert_eq!((message.reason, message.text), (11, &b"x"[..]));
    }
}
