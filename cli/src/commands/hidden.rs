//! A terminal that does not show what is typed.

use std::io;

use zeroize::Zeroizing;

/// Asks for a secret on the terminal.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let _hidden = Hidden::new();
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// While it lives, nothing is shown. It begins before the question is shown, so that a fast answer is hidden too, and it
/// restores the terminal when a question is given up, for instance after SIGINT: the thread that asks cannot.
pub(crate) struct Hidden {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Hidden {
    /// Hides what is typed at the terminal that is standard input; without one there is nothing to hide.
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
        if let Some(before) = &self.before {
            set(before);
        }
    }
}

#[cfg(unix)]
fn hide() -> Option<rustix::termios::Termios> {
    let before = rustix::termios::tcgetattr(std::io::stdin()).ok()?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    set(&hidden);
    Some(before)
}

/// If it fails, the terminal has gone.
#[cfg(unix)]
fn set(modes: &rustix::termios::Termios) {
    let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, modes);
}
