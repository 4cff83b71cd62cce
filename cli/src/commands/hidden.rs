//! A terminal that does not show what is typed.

use std::fs::File;
use std::io;

use zeroize::Zeroizing;

/// Asks for a secret on the terminal.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let _hidden = Hidden::new();
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// The terminal that this process belongs to, whatever its standard streams are.
pub(crate) fn tty() -> Option<File> {
    #[cfg(unix)]
    let tty = File::options().read(true).write(true).open("/dev/tty").ok();
    #[cfg(not(unix))]
    let tty = None;
    tty
}

/// While it lives, nothing is shown. It begins before the question is shown, so that a fast answer is hidden too, and it
/// restores the terminal when a question is given up, for instance after SIGINT: the thread that asks cannot.
pub(crate) struct Hidden {
    #[cfg(unix)]
    before: Option<(File, rustix::termios::Termios)>,
}

impl Hidden {
    /// Hides what is typed at the terminal; without one there is nothing to hide.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(unix)]
            before: hide(),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some((tty, before)) = &self.before {
            set(tty, before);
        }
    }
}

#[cfg(unix)]
fn hide() -> Option<(File, rustix::termios::Termios)> {
    let tty = tty()?;
    let before = rustix::termios::tcgetattr(&tty).ok()?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    set(&tty, &hidden);
    Some((tty, before))
}

/// If it fails, the terminal has gone.
#[cfg(unix)]
fn set(tty: &File, modes: &rustix::termios::Termios) {
    let _ = rustix::termios::tcsetattr(tty, rustix::termios::OptionalActions::Now, modes);
}
