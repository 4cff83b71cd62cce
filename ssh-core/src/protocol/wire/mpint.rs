/// Whether `raw` is an mpint's content that is zero or positive, in its shortest form (RFC 4251 §5).
#[must_use]
pub fn is_positive_mpint(raw: &[u8]) -> bool {
    match raw {
        [] => true,
        [0, next, ..] => *next >= 0x80,
        [0] => false,
        [first, ..] => *first < 0x80,
    }
}

/// `value` without leading zero bytes.
#[must_use]
pub fn trim_leading_zeros(value: &[u8]) -> &[u8] {
    let zeros = value.iter().take_while(|byte| **byte == 0).count();
    value.get(zeros..).unwrap_or_default()
}
