use super::CertificateError;
use super::parse::{read_text, within};
use crate::keys::address_list::AddressList;
use crate::protocol::wire::{Reader, Write as _};

/// A critical option or an extension: a name and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateOption {
    /// The name.
    pub name: Box<str>,
    /// What it holds, as it stands in the certificate. Empty for a flag; those that OpenSSH defines with a value hold one
    /// `string`, see [`value`](Self::value).
    pub data: Box<[u8]>,
}

impl CertificateOption {
    /// A flag, or an option with a text.
    #[must_use]
    pub fn new(name: &str, value: Option<&str>) -> Self {
        let mut data = Vec::new();
        if let Some(value) = value {
            data.put_string(value.as_bytes());
        }
        Self { name: name.into(), data: data.into() }
    }

    /// The critical option that binds a user's certificate to addresses, `address[/bits]` separated by commas. `None` if
    /// the list is empty or malformed, or an address has bits behind its mask.
    #[must_use]
    pub fn source_address(list: &str) -> Option<Self> {
        let is_sound = !list.is_empty() && AddressList::parse(list).is_some();
        is_sound.then(|| Self::new("source-address", Some(list)))
    }

    /// The text that it holds, if it holds one `string` that is UTF-8 and has no NUL.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        let mut reader = Reader::new(&self.data);
        let value = read_text(&mut reader, self.data.len()).ok()?;
        reader.is_empty().then_some(value)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_flag(&self) -> bool {
        self.data.is_empty()
    }
}

/// The content of an option field. No name may come twice: two values would leave open which one counts.
pub(super) fn parse_options(field: &[u8]) -> Result<Box<[CertificateOption]>, CertificateError> {
    let mut reader = Reader::new(field);
    let mut options: Vec<CertificateOption> = Vec::new();
    while !reader.is_empty() {
        within(options.len(), super::MAX_OPTIONS)?;
        let name = read_text(&mut reader, super::MAX_TEXT_LEN)?;
        let data = reader.string()?;
        if options.iter().any(|option| *option.name == *name) {
            return Err(CertificateError::RepeatedOption);
        }
        options.push(CertificateOption { name: name.into(), data: data.into() });
    }
    Ok(options.into())
}

/// The field of these options, in the order of their names (PROTOCOL.certkeys).
pub(super) fn write_options(options: &[CertificateOption]) -> Vec<u8> {
    let mut sorted: Vec<_> = options.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut field = Vec::new();
    for option in sorted {
        field.put_string(option.name.as_bytes());
        field.put_string(&option.data);
    }
    field
}
