//! Starting the tunnel's processes and making sure that none outlives us.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::error::{BenchError, Context, Result};
use super::procfs;

/// A process of a tunnel, in a group of its own. Dropping it kills the group and all descendants.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with standard error going to `log`; standard output is piped.
    pub(crate) fn spawn(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let stderr = File::create(log).context(log.display())?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .env_remove("RUST_LOG")
            .env_remove("SSH_AUTH_SOCK")
            .process_group(0);
        // Held over the spawn, so that an interrupt cannot fall between the start and the entry.
        let mut live = live();
        let child = command.spawn().context(format!("cannot start {name} ({:?})", command.get_program()))?;
        live.push(child.id());
        drop(live);
        Ok(Self { name, child, log: log.to_owned() })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error that says what failed and ends with what the process itself had to say.
    pub(crate) fn failure(&self, what: &str) -> BenchError {
        BenchError::new(format!("{}: {what}\n{}", self.name, self.last_words()))
    }

    /// The end of the process's log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default();
        match tail {
            [] => format!("  [{}] logged nothing", self.name),
            tail => {
                tail.iter().map(|line| format!("  [{}] {line}", self.name)).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// Fails when the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().context(self.name)? {
            Some(status) => Err(BenchError::new(format!("{} ended with {status}", self.name))),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_tree(self.child.id());
        let _ = self.child.wait();
        live().retain(|pid| *pid != self.child.id());
    }
}

/// Kills what is still running; for the interrupt handler, where destructors don't run.
pub(crate) fn kill_all() {
    for pid in live().drain(..) {
        kill_tree(pid);
    }
}

fn kill_tree(root: u32) {
    // sshd's session processes leave the group by setsid, so each descendant is named too.
    let pids = procfs::tree(root);
    if let Some(group) = rustix_pid(root) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    for pid in pids.into_iter().filter_map(rustix_pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn rustix_pid(pid: u32) -> Option<Pid> {
    // 0 and 1 would mean "my own group" and init.
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

fn live() -> MutexGuard<'static, Vec<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

static LIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Enough to see a cause, few enough to read.
const LOG_LINES_SHOWN: usize = 8;
