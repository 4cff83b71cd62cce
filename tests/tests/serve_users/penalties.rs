//! Sources whose logins fail too often.

use std::time::Duration;

use tempfile::TempDir;
use tests::adit;
use tests::keys::{KeyFile, KeyKind};
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

/// If asking about a key that would do but for something were free, a source that is never turned away would learn that the
/// key is known here; or that the file of a user is broken, and so that there is one.
#[tokio::test]
async fn a_key_that_would_do_but_for_something_counts_as_any_other() -> Outcome {
    use ssh_core::client::{self, Credential, Identity};
    use ssh_core::keys::PublicLine;
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let line = key.public_line()?;
    let blob = PublicLine::parse(line.as_bytes()).map_err(|error| Failure::new(error.to_string()))?.key;
    for content in [
        "# nobody\n".to_owned(),
        format!("from=\"192.0.2.1\" {line}\n"),
        format!("expiry-time=\"20000101\" {line}\n"),
        String::new(),
    ] {
        let path = write(&files, "authorized", &content)?;
        let user = format!("{USER}:{}", path.display());
        let arguments = ["--authorized-keys", &user, "--limit", "failed_logins=1"];
        let door = Door::open(&arguments, TempDir::new()?).await?;
        if content.is_empty() {
            std::fs::remove_file(&path)?;
        }
        let config = || {
            let query = Credential::key_query(Identity::public(&blob).ok()?, |_| ());
            let config = client::Config::builder(USER).verify_host_key(client::danger::AcceptAnyHostKey);
            config.authenticate(query).build().ok()
        };
        for number in 0..10 {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", door.port)).await?;
            let config = config().ok_or_else(|| Failure::new("no configuration"))?;
            match client::connect(stream, config).await {
                Err(ssh_core::Error::Auth(_)) => {}
                other => return Err(Failure::new(format!("{content:?}, {number}: {other:?}"))),
            }
        }
        // Ten times what is said, for loopback. The last one may still be on its way to the records.
        let turned_away = within(STEP, "to be turned away", async {
            while greets(door.port).await? {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        });
        turned_away.await.map_err(|failure| door.process.explain(failure))?;
    }
    Ok(())
}

/// Whether a connection gets as far as the version line.
async fn greets(port: u16) -> Outcome<bool> {
    use tokio::io::AsyncReadExt as _;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let mut start = [0; 4];
    Ok(stream.read_exact(&mut start).await.is_ok() && start == *b"SSH-")
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
