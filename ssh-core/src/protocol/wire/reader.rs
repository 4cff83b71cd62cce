use super::{NameList, WireError, is_positive_mpint};

/// Reads RFC 4251 §5 values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// `n` bytes without a length in front.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left, as for every method here.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// `byte`.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// `boolean`: any value but zero is true.
    pub fn boolean(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }

    /// `uint32`.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// `uint64`.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// `string`: bytes behind their length.
    pub fn string(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.u32()?).map_err(|_| WireError::Truncated)?;
        self.bytes(len)
    }

    /// `string` of at most `limit` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`] over the limit.
    pub fn string_max(&mut self, limit: usize) -> Result<&'a [u8], WireError> {
        let value = self.string()?;
        if value.len() > limit { Err(WireError::TooLong) } else { Ok(value) }
    }

    /// `string` of at most `limit` bytes that is UTF-8.
    pub fn text(&mut self, limit: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.string_max(limit)?).map_err(|_| WireError::NotUtf8)
    }

    /// A positive `mpint` in its shortest form; the magnitude without its sign byte.
    ///
    /// # Errors
    /// [`WireError::BadMpint`] if it is negative or has needless leading zeros. Zero is the empty slice.
    pub fn mpint(&mut self) -> Result<&'a [u8], WireError> {
        let raw = self.string()?;
        if !is_positive_mpint(raw) {
            return Err(WireError::BadMpint);
        }
        Ok(raw.strip_prefix(&[0]).unwrap_or(raw))
    }

    /// `name-list`.
    pub fn name_list(&mut self) -> Result<NameList<'a>, WireError> {
        NameList::parse(self.string()?)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if something is left.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::Write as _;

    #[test]
    fn a_length_past_the_end_is_refused_without_reading() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(reader.string(), Err(WireError::Truncated));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        out.put_u8(7);
        out.put_bool(true);
        out.put_u32(0xdead_beef);
        out.put_u64(1 << 40);
        out.put_string(b"abc");
        out.put_mpint(&[0x80, 1]);
        out.put_names(["a", "b"]);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.boolean(), Ok(true));
        assert_eq!(reader.u32(), Ok(0xdead_beef));
        assert_eq!(reader.u64(), Ok(1 << 40));
        assert_eq!(reader.string(), Ok(&b"abc"[..]));
        assert_eq!(reader.mpint(), Ok(&[0x80, 1][..]));
        assert_eq!(reader.name_list().unwrap().iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn rfc4251_5_mpint_examples() {
        for (value, wire) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0x09, 0xa3, 0x78][..], &[0, 0, 0, 3, 0x09, 0xa3, 0x78][..]),
            (&[0x80][..], &[0, 0, 0, 2, 0, 0x80][..]),
        ] {
            let mut out = Vec::new();
            out.put_mpint(value);
            assert_eq!(out, wire);
            assert_eq!(Reader::new(wire).mpint(), Ok(value));
        }
        // Negative: -1234 and -deadbeef. Not minimal: 0x0001.
        for wire in [
            &[0, 0, 0, 2, 0xed, 0xcc][..],
            &[0, 0, 0, 5, 0xff, 0x21, 0x52, 0x41, 0x11],
            &[0, 0, 0, 2, 0, 1],
            &[0, 0, 0, 1, 0],
        ] {
            assert_eq!(Reader::new(wire).mpint(), Err(WireError::BadMpint));
        }
    }
}
