//! The driver `interop-peer` and its twin on the Dev Tunnels packages, in both roles: every mode with every standard
//! combination of algorithms.
//!
//! The packages can do all of it. Two things are done past them:
//!
//! - `aes256-cbc` is in them but in none of their lists, so combination 3 is held to `aes256-ctr`, as the contract has
//!   it; `cbc_that_an_application_has_added` is about the other.
//! - In `concurrent-requests` their session waits for a request's handler before it reads on, so the server's handler
//!   sends its answer by itself.

use std::time::Duration;

use tests::cases::{Case, run_all};
use tests::interop_driver::{COMBINATIONS, Combination, Driver, Logs, MODES, Mode, run};
use tests::outcome::{Failure, Outcome, STEP, ensure};

const ADIT: Driver = Driver::Adit(env!("CARGO_BIN_EXE_interop-peer"));
/// RSA keys take seconds in a build without optimisation.
const CASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_mode_with_every_combination() -> Outcome {
    let Some(npm) = Driver::npm()? else { return Ok(()) };
    let combinations = COMBINATIONS.map(|combination| match combination {
        [kex, key, "aes256-cbc", mac] => [kex, key, "aes256-ctr", mac],
        other => other,
    });
    let cases = combinations.iter().enumerate().flat_map(|(number, combination)| {
        MODES.iter().flat_map({
            let npm = &npm;
            move |mode| both_roles(npm, number + 1, combination, mode)
        })
    });
    run_all("interop-peer with the npm packages", CASE, cases.collect()).await
}

#[tokio::test]
async fn cbc_that_an_application_has_added() -> Outcome {
    let Some(npm) = Driver::npm()? else { return Ok(()) };
    let combination = &COMBINATIONS[2];
    let modes = MODES.iter().filter(|mode| ["", "large", "reconnect", "rekey"].contains(&mode.name));
    let cases = modes.flat_map(|mode| both_roles(&npm, 3, combination, mode));
    run_all("interop-peer with the npm packages and CBC", CASE, cases.collect()).await
}

/// What the packages lack has to be told apart from what fails.
#[tokio::test]
async fn what_the_packages_lack_is_unsupported() -> Outcome {
    /// The code of its exit.
    const UNSUPPORTED: i32 = 2;
    let Some(npm) = Driver::npm()? else { return Ok(()) };
    let [kex, key, cipher, mac] = COMBINATIONS[0];
    let lacking = [
        (["curve25519-sha256", key, cipher, mac], ""),
        ([kex, "ssh-ed25519", cipher, mac], ""),
        ([kex, key, "chacha20-poly1305@openssh.com", mac], ""),
        ([kex, key, cipher, "umac-128@openssh.com"], ""),
        ([kex, key, cipher, mac], "no-such-mode"),
    ];
    for (combination, mode) in &lacking {
        for side in ["server", "client"] {
            let mut process = npm.start(side, 0, combination, mode, "")?;
            let code = process.exit(STEP).await?;
            let log = process.log();
            ensure(code == Some(UNSUPPORTED) && log.starts_with("ERROR: unsupported: "), || {
                format!("{side} {combination:?} {mode}: {code:?}, {log}")
            })?;
        }
    }
    Ok(())
}

fn both_roles<'a>(
    npm: &'a Driver,
    number: usize,
    algorithms: &'a Combination,
    mode: &'a Mode,
) -> [Case<'a>; 2] {
    let name = |roles| format!("{:?} with combination {number}, {roles}", mode.name);
    [
        Case::new(name("they are the client"), async move {
            let logs = run(&ADIT, npm, algorithms, mode).await?;
            check_keys(mode, &logs.client, &logs)
        }),
        Case::new(name("they are the server"), async move {
            let logs = run(npm, &ADIT, algorithms, mode).await?;
            check_keys(mode, &logs.server, &logs)
        }),
    ]
}

/// That it was the echo which came back says nothing of new keys; the library counts them.
fn check_keys(mode: &Mode, theirs: &str, logs: &Logs) -> Outcome {
    if mode.name != "rekey" {
        return Ok(());
    }
    let count = theirs.lines().find_map(|line| line.strip_prefix("sets of keys: "));
    let count = count.ok_or_else(|| Failure::new(format!("no count of keys: {logs:?}")))?;
    ensure(count.parse::<u32>()? > 1, || format!("{count} sets of keys"))
}
