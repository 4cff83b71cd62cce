//! Names that are guessed.

use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::client::{self, Credential};
use tests::outcome::{Failure, Outcome, ensure};
use tests::peers::USER;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::world::World;

/// How long one wrong password for this user takes.
async fn guess(port: u16, user: String) -> Outcome<f64> {
    let config = client::Config::builder(&user)
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("wrong"))
        .build()?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let start = Instant::now();
    let came_in = client::connect(stream, config).await.is_ok();
    ensure(!came_in, || "a wrong password is right".to_owned())?;
    Ok(start.elapsed().as_secs_f64())
}

/// Welch's t over 200 tries: 5 would be chance once in a million.
#[tokio::test]
async fn time_does_not_tell_which_users_there_are() -> Outcome {
    let world = World::new().await?;
    let (server, port) = world.serve(&["--no-penalties"]).await?;
    let tries = (0..200_u32).map(|number| async move {
        let exists = number % 2 == 0;
        let user = if exists { USER.to_owned() } else { format!("nobody{number}") };
        Ok::<_, Failure>((exists, guess(port, user).await?))
    });
    let took: Vec<_> = futures::stream::iter(tries).buffer_unordered(2).collect().await;
    let mut times: [Vec<f64>; 2] = Default::default();
    for tried in took {
        let (exists, time) = tried.map_err(|failure| server.explain(failure))?;
        let [unknown, known] = &mut times;
        if exists { known.push(time) } else { unknown.push(time) }
    }
    let [unknown, known] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        // What a busy machine does to some of them is not what is looked for.
        times.truncate(times.len() * 9 / 10);
        let count = f64::from(u32::try_from(times.len()).unwrap_or(1));
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    let t = (known.0 - unknown.0) / (known.1 + unknown.1).sqrt();
    let differ = Duration::from_secs_f64((known.0 - unknown.0).abs());
    // The delay of a refusal hides what is left; a timer's noise is no finding.
    ensure(t.abs() < 5.0 || differ < Duration::from_millis(3), || {
        format!("t = {t:.1}: {:.4} s for a user, {:.4} s for nobody", known.0, unknown.0)
    })
}
