use super::KeyFormatError;

/// Fresh bytes for a salt or an IV.
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyFormatError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| KeyFormatError::NoRandomness)?;
    Ok(out)
}
