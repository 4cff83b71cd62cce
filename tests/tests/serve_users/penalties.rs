//! Sources whose logins fail too often.

use std::time::Duration;

use tempfile::TempDir;
use tests::adit;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{PASSWORD, USER};

use super::door::{Door, PASSWORD_ONLY, hash_password, write};

#[tokio::test]
async fn a_source_whose_logins_fail_too_often_is_turned_away() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    for (arguments, is_refused) in
        [(vec!["--user", &user], true), (vec!["--user", &user, "--no-penalties"], false)]
    {
        let mut door = Door::open(&arguments, TempDir::new()?).await?;
        let port = door.port;
        let fail = move |_| async move {
            let mut config = client::Config::builder(USER).verify_host_key(client::danger::AcceptAnyHostKey);
            for number in 0..5 {
                config = config.authenticate(Credential::password(format!("guess {number}")));
            }
            let Ok(config) = config.build() else { return };
            let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = client::connect(stream, config).await;
        };
        // Five guesses and the end of each connection: three hundred are too many for loopback. A machine that is busy with
        // something else may not get that far with all of them before their logins have taken too long.
        for round in 1.. {
            futures::StreamExt::for_each_concurrent(futures::stream::iter(0..75), 30, fail).await;
            let (came_in, log) = door.lets_in(PASSWORD_ONLY, PASSWORD).await?;
            if came_in != is_refused {
                break;
            }
            ensure(is_refused && round < 4, || format!("refused {is_refused}: {log}"))?;
        }
        if is_refused {
            let warning = within(Duration::from_secs(5), "the warning", async {
                loop {
                    let warning = adit::event(&mut door.process, "warning").await?;
                    if warning["message"].as_str().is_some_and(|text| text.contains("turned away")) {
                        return Ok(warning);
                    }
                }
            });
            warning.await.map_err(|failure| door.process.explain(failure))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_guess_counts_although_its_client_does_not_wait_for_the_answer() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    // One that is quickly checked, as are those of users that do not exist.
    let hash = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
    let user = format!("{USER}:{}", write(&files, "password", hash)?.display());
    let mut door = Door::open(&["--user", &user], files).await?;
    let port = door.port;
    let guess = |user: &str, guesses: usize| {
        let mut config = client::Config::builder(user).verify_host_key(client::danger::AcceptAnyHostKey);
        for number in 0..guesses {
            config = config.authenticate(Credential::password(format!("guess {number}")));
        }
        config.build()
    };
    let fail = |number: usize| {
        let config = guess(&format!("loud {number}"), 5);
        async move {
            let (Ok(config), Ok(stream)) =
                (config, tokio::net::TcpStream::connect(("127.0.0.1", port)).await)
            else {
                return;
            };
            let _ = client::connect(stream, config).await;
        }
    };
    // From a hundred failures on, loopback has to wait; after ten more, a second.
    futures::StreamExt::for_each_concurrent(futures::stream::iter(0..25), 25, fail).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let config = guess("hasty", 1).map_err(|error| Failure::new(error.to_string()))?;
    let (login, driver) =
        client::connect_with_driver(stream, config).map_err(|error| Failure::new(error.to_string()))?;
    driver.spawn();
    let login = tokio::spawn(login);
    within(STEP, "the guess is on record", async {
        loop {
            let event = adit::event(&mut door.process, "login_failed").await?;
            if event["user"] == "hasty" {
                return ensure(event["reason"] == "unknown user", || event.to_string());
            }
        }
    })
    .await
    .map_err(|failure| door.process.explain(failure))?;
    // On record, while the client still waits out most of its second.
    tokio::time::sleep(Duration::from_millis(100)).await;
    ensure(!login.is_finished(), || "the client was told as soon as the guess was on record".to_owned())?;
    login.abort();
    Ok(())
}
