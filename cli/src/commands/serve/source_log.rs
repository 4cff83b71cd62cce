//! Lines about a peer, as many as one source may cause.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Source;
use super::penalties::REFUSED_FOR;
use crate::output::{Event, Output};

/// Says what a source causes, up to a limit a second; the rest is counted and the count is said.
#[derive(Debug)]
pub(super) struct SourceLog {
    output: Output,
    /// Lines about one source in each [`WINDOW`].
    most: u32,
    sources: Mutex<HashMap<Option<Source>, Spoken>>,
}

#[derive(Debug, Clone, Copy)]
struct Spoken {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl SourceLog {
    /// `most` lines a second about one source are said.
    pub(super) fn new(output: Output, most: u32) -> Self {
        Self { output, most, sources: Mutex::default() }
    }

    /// Says it, unless the source has had its lines of this second.
    pub(super) fn event(&self, from: SocketAddr, event: &Event<'_>) {
        if self.admits(Source::of(from.ip()), Instant::now()) {
            self.output.event(event);
        }
    }

    /// Says that the source is turned away from now on.
    pub(super) fn penalised(&self, from: SocketAddr) {
        let source = Source::of(from.ip());
        let seconds = REFUSED_FOR.as_secs();
        let message = format!(
            "{source} is turned away for {seconds} s: too many of its logins failed (--no-penalties turns this off)"
        );
        self.event(from, &Event::Warning { message });
    }

    /// Says how many lines were left out about sources that are silent since. To be called about once a second.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut left_out = Vec::new();
        self.lock().retain(|source, spoken| {
            if !spoken.is_over(now) {
                return true;
            }
            if spoken.left_out > 0 {
                left_out.push((*source, spoken.left_out));
            }
            false
        });
        for (source, count) in left_out {
            self.say_left_out(source, count);
        }
    }

    fn admits(&self, source: Source, now: Instant) -> bool {
        let mut sources = self.lock();
        // Past the cap the sources that are new share an allowance.
        let key = Some(source).filter(|_| sources.len() < MAX_SOURCES || sources.contains_key(&Some(source)));
        let spoken = sources.entry(key).or_insert(Spoken { since: now, lines: 0, left_out: 0 });
        let mut left_out = 0;
        if spoken.is_over(now) {
            left_out = spoken.left_out;
            *spoken = Spoken { since: now, lines: 0, left_out: 0 };
        }
        let admits = spoken.lines < self.most;
        if admits {
            spoken.lines = spoken.lines.saturating_add(1);
        } else {
            spoken.left_out = spoken.left_out.saturating_add(1);
        }
        drop(sources);
        if left_out > 0 {
            self.say_left_out(key, left_out);
        }
        admits
    }

    fn say_left_out(&self, source: Option<Source>, count: u64) {
        let source = source.map_or_else(|| "other sources".to_owned(), |source| source.to_string());
        let message = format!(
            "{count} lines about {source} were left out; {} a second are said (limit log_lines)",
            self.most
        );
        self.output.warning(message);
    }

    /// The counters are right after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Source>, Spoken>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spoken {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

const WINDOW: Duration = Duration::from_secs(1);
/// Sources with lines in the last second; about 64 bytes each.
const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_hundred_lines_a_second() {
        let log = SourceLog::new(Output::new(true, true), 100);
        let (loud, quiet) = (Source::of([10, 0, 0, 1].into()), Source::of([10, 0, 0, 2].into()));
        let start = Instant::now();
        let admitted = |source, now, tries: u32| (0..tries).filter(|_| log.admits(source, now)).count();
        assert_eq!(admitted(loud, start, 1000), 100);
        assert_eq!(log.lock()[&Some(loud)].left_out, 900);
        assert_eq!(admitted(quiet, start, 100), 100);
        let later = start + WINDOW;
        assert_eq!(admitted(loud, later, 10), 10);
        assert_eq!(log.lock()[&Some(loud)].left_out, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let log = SourceLog::new(Output::new(true, true), 100);
        let now = Instant::now();
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() + 1000 {
            log.admits(Source::of(std::net::Ipv4Addr::from_bits(number).into()), now);
        }
        assert!(log.lock().len() <= MAX_SOURCES + 1);
        assert_eq!(log.lock()[&None].left_out, 900);
    }
}
