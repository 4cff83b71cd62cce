//! The driver `interop-peer` against itself: every mode with every standard combination of algorithms.

use std::time::Duration;

use tests::cases::{Case, run_all};
use tests::endpoint::reserve_port;
use tests::interop_driver::{COMBINATIONS, Driver, MODES, run};
use tests::outcome::{Outcome, STEP, ensure};

#[tokio::test]
async fn every_mode_with_every_combination() -> Outcome {
    /// RSA keys take seconds in a build without optimisation.
    const CASE: Duration = Duration::from_secs(60);

    let adit = Driver::Adit(env!("CARGO_BIN_EXE_interop-peer"));
    let adit = &adit;
    let cases = COMBINATIONS.iter().enumerate().flat_map(|(number, combination)| {
        MODES.iter().map(move |mode| {
            let name = format!("{:?} with combination {}", mode.name, number + 1);
            Case::new(name, async move { run(adit, adit, combination, mode).await.map(drop) })
        })
    });
    run_all("interop-peer with itself", CASE, cases.collect()).await
}

/// Who cannot do what it is asked says why on stderr, prints no marker that it has not earned, and does not end with 0.
#[tokio::test]
async fn what_cannot_be_done_is_an_error() -> Outcome {
    let adit = Driver::Adit(env!("CARGO_BIN_EXE_interop-peer"));
    let [kex, key, cipher, mac] = COMBINATIONS[0];
    let gone = reserve_port().await?;
    for (side, port, combination, mode) in [
        ("client", gone, COMBINATIONS[0], ""),
        ("client", gone, COMBINATIONS[0], "no-such-mode"),
        ("server", 0, [kex, key, "no-such-cipher", mac], ""),
        ("server", 0, ["no-such-kex", key, cipher, mac], ""),
        ("neither", 0, COMBINATIONS[0], ""),
    ] {
        let mut process = adit.start(side, port, &combination, mode, "")?;
        ensure(process.next_line(STEP).await?.is_none(), || format!("{side} {mode} printed a marker"))?;
        let (code, log) = (process.exit(STEP).await?, process.log());
        ensure(code.is_some_and(|code| code != 0) && log.starts_with("ERROR: "), || {
            format!("{side} {combination:?} {mode}: {code:?}, {log}")
        })?;
    }
    // Nobody asks for what the server is about: it says so, and its client does not come to its end.
    let mut server = adit.start("server", 0, &COMBINATIONS[0], "pkauth", "")?;
    let listening = server.next_line(STEP).await?.unwrap_or_default();
    let port = listening.rsplit(' ').next().unwrap_or_default().parse::<u16>()?;
    let mut client = adit.start("client", port, &COMBINATIONS[0], "", "")?;
    ensure(client.next_line(STEP).await?.is_none(), || "it came in without a key".to_owned())?;
    let (code, log) = (client.exit(STEP).await?, client.log());
    ensure(code == Some(1) && log.starts_with("ERROR: "), || format!("{code:?}, {log}"))?;
    ensure(server.exit(STEP).await? != Some(0), || "nobody has logged in".to_owned())
}
