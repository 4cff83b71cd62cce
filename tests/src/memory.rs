//! What is left in the memory of a process: what its core dump would show.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use regex::bytes::Regex;

use crate::outcome::Outcome;

/// Pieces of secrets to look for.
#[derive(Debug)]
pub struct Pieces(Regex);

/// A piece that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The piece.
    pub piece: Vec<u8>,
    /// The mapping's name, such as `[heap]` or `[stack]`; empty if it has none.
    pub mapping: String,
    /// Where it is.
    pub address: u64,
}

/// The most memory that a process has had resident (`VmHWM`), in KiB; nothing once it has ended.
#[must_use]
pub fn peak_kib(process: u32) -> Option<u64> {
    status_kib(process, "VmHWM:")
}

/// The memory that a process has resident now (`VmRSS`), in KiB; nothing once it has ended.
#[must_use]
pub fn resident_kib(process: u32) -> Option<u64> {
    status_kib(process, "VmRSS:")
}

fn status_kib(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl Pieces {
    /// Looks for these.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new<T: AsRef<[u8]>>(pieces: impl IntoIterator<Item = T>) -> Outcome<Self> {
        let escaped =
            |piece: T| piece.as_ref().iter().map(|byte| format!(r"\x{byte:02x}")).collect::<String>();
        let all: Vec<String> = pieces.into_iter().map(escaped).collect();
        Ok(Self(Regex::new(&format!("(?s-u:{})", all.join("|")))?))
    }

    /// Looks through all memory that the process may write to: its heap, its stack, and whatever else it has mapped. Of
    /// pieces that overlap, one is found.
    ///
    /// # Errors
    /// When it has ended, or is not ours to look into.
    pub fn find_in(&self, process: u32) -> Outcome<Vec<Found>> {
        let memory = File::open(format!("/proc/{process}/mem"))?;
        let mut found = Vec::new();
        for line in std::fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            if !rights.starts_with("rw") {
                continue;
            }
            let mapping = fields.nth(3).unwrap_or_default();
            let mut ends = range.split('-').map(|end| u64::from_str_radix(end, 16).unwrap_or_default());
            let (start, end) = (ends.next().unwrap_or_default(), ends.next().unwrap_or_default());
            let mut part = vec![0; usize::try_from(end - start).unwrap_or_default()];
            // Some of what is mapped cannot be read.
            if memory.read_exact_at(&mut part, start).is_err() {
                continue;
            }
            found.extend(self.0.find_iter(&part).map(|at| Found {
                piece: at.as_bytes().to_vec(),
                mapping: mapping.to_owned(),
                address: start + u64::try_from(at.start()).unwrap_or_default(),
            }));
        }
        Ok(found)
    }
}
