use super::CryptoError;

/// The nonce of RFC 5647 §7.1: four fixed bytes and a 64-bit counter that steps once a packet.
///
/// The counter starts anywhere. It is refused past its last value rather than wrapped: with a start that is random
/// this happens once in 2³¹ keys at most, and then a new connection is better than a nonce that was used before.
pub(super) struct GcmNonce {
    fixed: [u8; 4],
    counter: Option<u64>,
}

/// Length of a GCM nonce in bytes.
pub(super) const NONCE_LEN: usize = 12;

impl GcmNonce {
    /// From the derived IV, of which the first 12 bytes are used.
    pub(super) fn new(iv: &[u8]) -> Result<Self, CryptoError> {
        let (fixed, rest) = iv.split_first_chunk::<4>().ok_or(CryptoError::BadKey)?;
        let counter: [u8; 8] = rest.try_into().map_err(|_| CryptoError::BadKey)?;
        Ok(Self { fixed: *fixed, counter: Some(u64::from_be_bytes(counter)) })
    }

    /// The nonce for the next packet.
    pub(super) fn step(&mut self) -> Result<[u8; NONCE_LEN], CryptoError> {
        let counter = self.counter.ok_or(CryptoError::Backend)?;
        self.counter = counter.checked_add(1);
        let mut nonce = [0; NONCE_LEN];
        let (fixed, rest) = nonce.split_at_mut(4);
        fixed.copy_from_slice(&self.fixed);
        rest.copy_from_slice(&counter.to_be_bytes());
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_carries_into_its_upper_half_and_never_wraps() {
        let mut nonce = GcmNonce::new(&[1, 2, 3, 4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert_eq!(nonce.step(), Ok([1, 2, 3, 4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(nonce.step(), Ok([1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0]));
        let mut last = GcmNonce::new(&[9, 9, 9, 9, 255, 255, 255, 255, 255, 255, 255, 255]).unwrap();
        assert!(last.step().is_ok());
        assert_eq!(last.step(), Err(CryptoError::Backend));
        assert_eq!(last.step(), Err(CryptoError::Backend));
    }
}
