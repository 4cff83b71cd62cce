use super::WireError;

/// A name-list may not be longer, in bytes. OpenSSH's are under 1 KiB.
pub const MAX_NAME_LIST_LEN: usize = 8 * 1024;
/// A name-list may not hold more names. OpenSSH's hold under 20.
pub const MAX_NAMES: usize = 128;

/// A `name-list` (RFC 4251 §5): names separated by commas, checked when parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameList<'a>(&'a str);

impl<'a> NameList<'a> {
    /// Checks the content of a name-list.
    ///
    /// # Errors
    /// [`WireError::BadNameList`] over the limits, on an empty name, or on a byte outside printable ASCII.
    pub fn parse(raw: &'a [u8]) -> Result<Self, WireError> {
        if raw.len() > MAX_NAME_LIST_LEN || !raw.iter().all(u8::is_ascii_graphic) {
            return Err(WireError::BadNameList);
        }
        let text = std::str::from_utf8(raw).map_err(|_| WireError::BadNameList)?;
        let list = Self(text);
        if list.iter().count() > MAX_NAMES || list.iter().any(str::is_empty) {
            return Err(WireError::BadNameList);
        }
        Ok(list)
    }

    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = self.0;
        // An empty list has no names; `split` would say it has one empty name.
        text.split(',').take(if text.is_empty() { 0 } else { usize::MAX })
    }

    /// Whether `name` is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|entry| entry == name)
    }

    /// The list as it stood on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_over_the_limits_and_with_holes_are_refused() {
        for bad in
            [&b",a"[..], b"a,", b"a,,b", b"a b", b"a\0", "é".as_bytes(), &[b'x'; MAX_NAME_LIST_LEN + 1]]
        {
            assert_eq!(NameList::parse(bad), Err(WireError::BadNameList));
        }
        let many = vec!["a"; MAX_NAMES + 1].join(",");
        assert_eq!(NameList::parse(many.as_bytes()), Err(WireError::BadNameList));
        assert_eq!(NameList::parse(b"").unwrap().iter().count(), 0);
    }
}
