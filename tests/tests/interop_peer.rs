//! The driver `interop-peer` against itself: every mode with every standard combination of algorithms.

use std::time::Duration;

use tests::cases::{Case, run_all};
use tests::interop_driver::{COMBINATIONS, Driver, MODES, run};
use tests::outcome::Outcome;

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
