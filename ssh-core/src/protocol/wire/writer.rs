use super::trim_leading_zeros;

/// Appends RFC 4251 §5 values to a buffer.
///
/// Values that we write are bounded by our own limits, far under 4 GiB; a longer slice would be cut.
pub trait Write {
    /// Bytes as they are.
    fn put_bytes(&mut self, value: &[u8]);

    /// `byte`.
    fn put_u8(&mut self, value: u8) {
        self.put_bytes(&[value]);
    }
    /// `boolean`.
    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }
    /// `uint32`.
    fn put_u32(&mut self, value: u32) {
        self.put_bytes(&value.to_be_bytes());
    }
    /// `uint64`.
    fn put_u64(&mut self, value: u64) {
        self.put_bytes(&value.to_be_bytes());
    }
    /// A length as `uint32`.
    fn put_len(&mut self, len: usize) {
        debug_assert!(u32::try_from(len).is_ok());
        self.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }
    /// `string`.
    fn put_string(&mut self, value: &[u8]) {
        self.put_len(value.len());
        self.put_bytes(value);
    }
    /// A positive `mpint` from its big-endian magnitude, which may have leading zeros.
    fn put_mpint(&mut self, magnitude: &[u8]) {
        let value = trim_leading_zeros(magnitude);
        let sign = value.first().is_some_and(|first| *first >= 0x80);
        self.put_len(value.len().saturating_add(usize::from(sign)));
        if sign {
            self.put_u8(0);
        }
        self.put_bytes(value);
    }
    /// `name-list`.
    fn put_names<'a>(&mut self, names: impl IntoIterator<Item = &'a str>)
    where
        Self: Sized,
    {
        self.put_string(names.into_iter().collect::<Vec<_>>().join(",").as_bytes());
    }
}

impl Write for Vec<u8> {
    fn put_bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

/// A `string` whose content is written piece by piece into a `Vec`, its length filled in at the end.
#[derive(Debug)]
#[must_use = "the length is written by `end`"]
pub struct LengthPrefix {
    at: usize,
}

impl LengthPrefix {
    /// Leaves room for the length.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let at = out.len();
        out.put_u32(0);
        Self { at }
    }

    /// Writes the length of what was appended since [`begin`](Self::begin).
    pub fn end(self, out: &mut [u8]) {
        let content = self.at.saturating_add(4);
        let len = u32::try_from(out.len().saturating_sub(content)).unwrap_or(u32::MAX);
        if let Some(room) = out.get_mut(self.at..content) {
            room.copy_from_slice(&len.to_be_bytes());
        }
    }
}
