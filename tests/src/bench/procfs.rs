//! CPU time and memory of a process and all its descendants, from `/proc`.
//!
//! sshd forks a process for each session (and, for other users than root, one more for privilege separation),
//! and those call `setsid`: the tree has to be followed by parent ids, process groups don't show it.

use std::collections::HashMap;
use std::fs;

use super::error::{BenchError, Context, Result};

/// The process and its living descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between the listing and the read; it is then no longer in the tree.
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// User and system seconds of the tree, including threads and children that have ended and were waited for.
pub(crate) fn cpu_seconds(root: u32) -> Result<f64> {
    let mut ticks = 0;
    for pid in tree(root) {
        match Stat::read(pid) {
            Some(stat) => ticks += stat.ticks,
            None if pid == root => return Err(BenchError::new(format!("process {root} is gone"))),
            None => {}
        }
    }
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident set of the tree in KiB (`VmRSS`).
pub(crate) fn resident_kib(root: u32) -> Result<u64> {
    let mut total = 0;
    for pid in tree(root) {
        match fs::read_to_string(format!("/proc/{pid}/status")) {
            Ok(status) => total += vm_rss(&status).unwrap_or(0),
            Err(error) if pid == root => return Err(error).context(format!("memory of process {root}")),
            Err(_) => {}
        }
    }
    Ok(total)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The command name is in parentheses and may itself hold spaces and parentheses.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) numbers from 1 and `rest` begins with field 3: ppid is 4, utime to cstime are 14 to 17.
        let parent = fields.get(1)?.parse().ok()?;
        let mut ticks = 0;
        for field in fields.get(11..15)? {
            // cutime and cstime are signed in proc(5).
            ticks += field.parse::<i64>().ok()?.max(0).unsigned_abs();
        }
        Some(Self { parent, ticks })
    }
}

fn vm_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_hostile_command_name() {
        let line = "42 (a) R 1 (b) S 7 1 1 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 127));
        assert!(Stat::parse("42 (short) S 7").is_none());
    }

    #[test]
    fn resident_set_is_found_in_status() {
        assert_eq!(vm_rss("Name:\tx\nVmHWM:\t 999 kB\nVmRSS:\t    5120 kB\nRssAnon:\t 1 kB\n"), Some(5120));
        assert_eq!(vm_rss("Name:\tkthread\n"), None);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pids = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pids.contains(&child.id()));
        assert!(!tree(std::process::id()).contains(&child.id()));
    }
}
