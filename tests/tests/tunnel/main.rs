//! `adit host` and `adit connect`: with each other, and with hosts and clients of the SDK.
#![cfg(target_os = "linux")]

mod first_use;
mod gaps;
mod hosts;
mod on_the_way;
mod ports;
mod proxies;
mod rules;
mod sdk;
mod sdk_ends;
mod tokens;

use tests::endpoint::Endpoint;
use tests::outcome::{Outcome, STEP, within};
use tests::traffic::{Ending, exchange};

/// Echoes of both sizes, and twenty connections at once.
async fn everything_passes(local: &Endpoint, ending: Ending) -> Outcome {
    for length in [1024, 8 * 1024 * 1024] {
        let echo = exchange(local.connect().await?, length, length, ending);
        within(STEP, &format!("an echo of {length} bytes"), echo).await?;
    }
    let mut all = Vec::new();
    for seed in 0..20 {
        all.push(exchange(local.connect().await?, seed, 64 * 1024, ending));
    }
    within(STEP, "twenty connections", async { futures::future::try_join_all(all).await.map(drop) }).await
}
