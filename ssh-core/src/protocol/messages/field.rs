use crate::protocol::wire::{NameList, Reader, WireError, Write as _};

/// A text field may not be longer, in bytes.
const MAX_TEXT: usize = 4096;

/// What a field's type says about its place on the wire.
pub(super) trait Field<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError>;
    fn write(&self, out: &mut Vec<u8>);
}

impl<'a> Field<'a> for u32 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u32()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(*self);
    }
}

impl<'a> Field<'a> for bool {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.boolean()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bool(*self);
    }
}

impl<'a> Field<'a> for [u8; 16] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.bytes(16)?.try_into().map_err(|_| WireError::Truncated)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bytes(self);
    }
}

/// A `string` of bytes.
impl<'a> Field<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.string()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self);
    }
}

/// A `string` of UTF-8.
impl<'a> Field<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.text(MAX_TEXT)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.as_bytes());
    }
}

impl<'a> Field<'a> for NameList<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.name_list()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.as_str().as_bytes());
    }
}

/// A `string` at the end of a message that some peers leave out: read as empty when missing, always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptionalText<'a>(pub &'a [u8]);

impl<'a> Field<'a> for OptionalText<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        if reader.is_empty() { Ok(Self(&[])) } else { Ok(Self(reader.string()?)) }
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.0);
    }
}

/// Everything up to the end of the message, without a length.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest<'a>(pub &'a [u8]);

/// It may hold a password.
impl std::fmt::Debug for Rest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rest({} bytes)", self.0.len())
    }
}

impl<'a> Field<'a> for Rest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let all = reader.rest();
        Ok(Self(reader.bytes(all.len())?))
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.0);
    }
}
