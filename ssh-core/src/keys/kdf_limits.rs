/// How much work a reader is willing to do to open an encrypted key. It is checked before the work begins, so a file
/// that asks for more costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KdfLimits {
    /// Rounds of bcrypt_pbkdf in an OpenSSH key, never over
    /// [`openssh::MAX_KDF_ROUNDS`](super::openssh::MAX_KDF_ROUNDS). A round takes about 5 to 10 ms.
    pub bcrypt_rounds: u32,
    /// Iterations of PBKDF2 in a PKCS#8 key, never over [`MAX_PBKDF2_ITERATIONS`]. An iteration takes about 1 µs.
    pub pbkdf2_iterations: u32,
    /// N · r · p of scrypt in a PKCS#8 key, never over [`MAX_SCRYPT_COST`]. Memory is 128 bytes for each, at most.
    pub scrypt_cost: u32,
}

/// More PBKDF2 iterations are never done: a second or two.
pub const MAX_PBKDF2_ITERATIONS: u32 = 1 << 20;
/// A larger N · r · p of scrypt is never done: 128 MiB, and a second or two. `openssl pkcs8 -scrypt` writes 2^17.
pub const MAX_SCRYPT_COST: u32 = 1 << 20;

impl Default for KdfLimits {
    fn default() -> Self {
        Self {
            bcrypt_rounds: super::openssh::DEFAULT_KDF_ROUNDS_LIMIT,
            pbkdf2_iterations: MAX_PBKDF2_ITERATIONS,
            scrypt_cost: MAX_SCRYPT_COST,
        }
    }
}
