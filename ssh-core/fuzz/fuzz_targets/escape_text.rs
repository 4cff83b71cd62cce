//! A peer's words: fit to be seen, no longer than they may be, and the same if they are made fit twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::error::escape_text;

fuzz_target!(|input: &[u8]| {
    let shown = escape_text(input);
    assert!(shown.len() <= 256 + '…'.len_utf8(), "{} bytes", shown.len());
    for c in shown.chars() {
        assert!(!c.is_control(), "{c:?} is shown");
        let code = u32::from(c);
        let hidden =
            [0xad..=0xad, 0x61c..=0x61c, 0x200b..=0x200f, 0x2028..=0x202e, 0x2060..=0x206f, 0xfeff..=0xfeff];
        assert!(!hidden.iter().any(|range| range.contains(&code)), "{c:?} is shown");
    }
    assert_eq!(escape_text(shown.as_bytes()), shown);
    // What is harmless is left as it is.
    if input.len() <= 256 && input.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        assert_eq!(shown.as_bytes(), input);
    }
});
