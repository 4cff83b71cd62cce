//! Ctrl-C and SIGTERM: the tunnels run in process groups of their own, so a terminal's signal passes them by.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::error::{Context, Result};
use super::process;

/// Kills all tunnels, removes `scratch` and exits when the user interrupts us.
pub(crate) fn install(program: &'static str, scratch: PathBuf) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("interrupt handler")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let interrupt = signal(SignalKind::interrupt()).context("interrupt handler")?;
        (interrupt, signal(SignalKind::terminate()).context("interrupt handler")?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        process::kill_all();
        let _ = std::fs::remove_dir_all(&scratch);
        eprintln!("{program}: interrupted");
        std::process::exit(130);
    };
    std::thread::Builder::new().name("interrupt".into()).spawn(wait).context("interrupt handler")?;
    Ok(())
}
