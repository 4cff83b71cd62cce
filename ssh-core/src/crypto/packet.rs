//! Packet protection out of a cipher mode and a MAC, shared by the backends.
/// placeholder
#[derive(Debug)]
pub struct EncryptAndMac;
/// placeholder
#[derive(Debug)]
pub struct EncryptThenMac;
