//! Settings.
/// placeholder
#[derive(Debug)]
pub struct Algorithms;
