//! Values and messages: what decodes is written back byte for byte, but for what a message is documented to mend.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::PublicKey;
use ssh_core::protocol::messages::*;
use ssh_core::protocol::wire::{NameList, Reader, Write as _, is_positive_mpint};

fuzz_target!(|input: &[u8]| {
    values(input);
    keys(input);
    messages(input);
});

fn values(input: &[u8]) {
    let mut reader = Reader::new(input);
    while !reader.is_empty() {
        let before = reader.rest();
        let mut written = Vec::new();
        let read = match before.first().map(|byte| byte % 6) {
            Some(0) => reader.u32().map(|value| written.put_u32(value)),
            Some(1) => reader.u64().map(|value| written.put_u64(value)),
            Some(2) => reader.mpint().map(|value| written.put_mpint(value)),
            Some(3) => reader.text(100).map(|value| written.put_string(value.as_bytes())),
            Some(4) => reader.name_list().map(|value| written.put_names(value.iter())),
            _ => reader.string().map(|value| written.put_string(value)),
        };
        if read.is_err() {
            break;
        }
        assert_eq!(written, before[..before.len() - reader.rest().len()]);
    }
    if let Ok(list) = NameList::parse(input) {
        assert!(list.iter().all(|name| !name.is_empty() && list.contains(name)));
        assert!(list.iter().count() <= 128);
        assert_eq!(list.iter().collect::<Vec<_>>().join(","), list.as_str());
    }
    let mut written = Vec::new();
    written.put_mpint(input);
    assert!(is_positive_mpint(&written[4..]));
}

fn keys(input: &[u8]) {
    if let Ok(key) = PublicKey::from_blob(input) {
        let blob = key.to_blob();
        assert_eq!(PublicKey::from_blob(&blob).as_ref(), Ok(&key));
        assert!(key.bits() >= 256);
    }
}

macro_rules! round_trip {
    ($input:ident: $($name:ident $(mended $mend:ident)?),* $(,)?) => {
        match $input.first() {
            $( Some(&$name::NUMBER) => {
                if let Ok(message) = $name::decode($input) {
                    let mut written = Vec::new();
                    message.encode(&mut written);
                    assert_eq!($name::decode(&written), Ok(message));
                    #[allow(unused_mut, reason = "most messages mend nothing")]
                    let mut expected = $input.to_vec();
                    $( $mend(&mut expected, written.len()); )?
                    // Any byte but 0 is true, and is written as 1.
                    if written != expected {
                        assert_eq!(written.len(), expected.len());
                        let differ = written.iter().zip(&expected).filter(|(a, b)| a != b);
                        assert!(differ.into_iter().all(|(a, b)| *a == 1 && *b > 1));
                    }
                }
            } )*
            _ => {}
        }
    };
}

/// A text that may be missing is written as an empty one.
fn text_may_be_missing(expected: &mut Vec<u8>, written: usize) {
    if expected.len() + 4 == written {
        expected.extend([0; 4]);
    }
}

fn messages(input: &[u8]) {
    round_trip!(
        input:
        Disconnect mended text_may_be_missing,
        Ignore, Unimplemented, Debug, ServiceRequest,
        ServiceAccept mended text_may_be_missing,
        ExtInfo, KexInit, NewKeys, KexInitShare, KexReply,
        UserAuthRequest, UserAuthFailure, UserAuthSuccess,
        UserAuthBanner mended text_may_be_missing,
        UserAuthPkOk, GlobalRequest, RequestSuccess, RequestFailure, ChannelOpen, ChannelOpenConfirmation,
        ChannelOpenFailure mended text_may_be_missing,
        ChannelWindowAdjust, ChannelData, ChannelExtendedData, ChannelEof, ChannelClose, ChannelRequest,
        ChannelSuccess, ChannelFailure,
    );
}
