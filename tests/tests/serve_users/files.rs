//! Files of passwords, keys and banners count as they are at the moment of a login.

use tempfile::TempDir;
use tests::adit;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{PASSWORD, USER};
use tokio::process::Command;

use super::door::{Door, PASSWORD_ONLY, hash_password, write};

#[tokio::test]
async fn hashed_passwords_let_in_and_a_changed_file_counts_at_once() -> Outcome {
    let files = TempDir::new()?;
    let argon = hash_password(PASSWORD).await?;
    ensure(argon.starts_with("$argon2id$v=19$"), || argon.clone())?;
    let crypt = output(Command::new("openssl").args(["passwd", "-6", PASSWORD])).await?;
    let path = write(&files, "password", &format!("{argon}\n"))?;
    let mut door = Door::open(&["--user", &format!("{USER}:{}", path.display())], files).await?;
    door.expect(PASSWORD_ONLY, PASSWORD, true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["methods"] == serde_json::json!(["password"]), || event.to_string())?;
    door.expect(PASSWORD_ONLY, "wrong", false).await?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    ensure(event["reason"] == "wrong password" && event["user"] == USER, || event.to_string())?;

    // The same password under another hash, another password, none, and a hash that costs too much.
    std::fs::write(&path, &crypt)?;
    door.expect(PASSWORD_ONLY, PASSWORD, true).await?;
    std::fs::write(&path, hash_password("another").await?)?;
    door.expect(PASSWORD_ONLY, PASSWORD, false).await?;
    door.expect(PASSWORD_ONLY, "another", true).await?;
    for broken in [
        "",
        "$6$rounds=999999999$salt$x",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        std::fs::write(&path, broken)?;
        door.expect(PASSWORD_ONLY, "another", false).await?;
        let warning = adit::event(&mut door.process, "warning").await?;
        ensure(adit::text(&warning, "message")?.contains("it lets nobody in"), || warning.to_string())?;
    }
    std::fs::write(&path, "plain\n")?;
    door.expect(PASSWORD_ONLY, "plain", true).await?;
    let warning = adit::event(&mut door.process, "warning").await?;
    ensure(adit::text(&warning, "message")?.contains("adit hash-password"), || warning.to_string())
}

#[tokio::test]
async fn a_key_that_is_taken_away_is_refused_without_a_restart() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let path = write(&files, "authorized", &format!("{} as a fingerprint\n", key.fingerprint))?;
    let arguments = ["--authorized-keys", &path.display().to_string()];
    let mut door = Door::open(&arguments, files).await?;
    let with_key = ["-i", &key.path.display().to_string()];
    door.expect(&with_key, "", true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["keys"] == serde_json::json!([key.fingerprint]), || event.to_string())?;
    for (content, expected) in [
        ("# nobody\n".to_owned(), false),
        (format!("from=\"10.0.0.1\" {}", key.public_line()?), false),
        (key.public_line()?, true),
    ] {
        std::fs::write(&path, content)?;
        door.expect(&with_key, "", expected).await?;
    }
    std::fs::remove_file(&path)?;
    door.expect(&with_key, "", false).await?;
    // Each of them is on record, though the client only asked if its key would do.
    std::fs::write(&path, "# nobody\n")?;
    door.expect(&with_key, "", false).await?;
    for reason in ["not this user's", "from=", "not this user's", "not this user's"] {
        let event = adit::event(&mut door.process, "login_failed").await?;
        ensure(event["method"] == "publickey" && adit::text(&event, "reason")?.contains(reason), || {
            format!("{event} instead of {reason}")
        })?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_a_kind_that_is_off_by_default_may_be_added_later() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ecdsa(521)).await?;
    let path = write(&files, "authorized", "# nobody yet\n")?;
    let door = Door::open(&["--authorized-keys", &path.display().to_string()], files).await?;
    let with_key = ["-i", &key.path.display().to_string()];
    door.expect(&with_key, "", false).await?;
    std::fs::write(&path, key.public_line()?)?;
    door.expect(&with_key, "", true).await
}

#[tokio::test]
async fn a_banner_is_shown_whole_or_its_file_is_complained_of() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    let user = format!("{USER}:{}", write(&files, "password", PASSWORD)?.display());
    // 8 KiB, the most that there may be.
    let text = format!("{}\n", "x".repeat(127)).repeat(64);
    let banner = write(&files, "banner", &text)?;
    let arguments = ["--user", &user, "--banner", &banner.display().to_string()];
    let mut door = Door::open(&arguments, files).await?;
    for expected in [Some(text.as_str()), None] {
        if expected.is_none() {
            std::fs::write(&banner, "x".repeat(8193))?;
        }
        let shown = std::sync::Arc::new(std::sync::Mutex::new(None));
        let noted = std::sync::Arc::clone(&shown);
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .on_banner(move |text| {
                *noted.lock().unwrap_or_else(|error| error.into_inner()) = Some(text.to_owned())
            })
            .authenticate(Credential::password(PASSWORD));
        let config = config.build().map_err(|error| Failure::new(error.to_string()))?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", door.port)).await?;
        client::connect(stream, config).await.map_err(|error| Failure::new(error.to_string()))?;
        let shown = shown.lock().map_or(None, |mut shown| shown.take());
        ensure(shown.as_deref().map(str::trim_end) == expected.map(str::trim_end), || format!("{shown:?}"))?;
    }
    within(STEP, "the complaint", async {
        loop {
            let warning = adit::event(&mut door.process, "warning").await?;
            let message = adit::text(&warning, "message")?.to_owned();
            if message.contains("banner") {
                return ensure(message.contains("nobody is shown it"), || message);
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_reason_for_a_refused_key_is_said_here_and_not_there() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let path = write(&files, "authorized", &format!("expiry-time=\"20200101Z\" {}\n", key.public_line()?))?;
    let mut door = Door::open(&["--authorized-keys", &path.display().to_string()], files).await?;
    let (came_in, log) = door.lets_in(&["-i", &key.path.display().to_string()], "").await?;
    ensure(!came_in && !log.contains("expiry"), || log)?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    let reason = adit::text(&event, "reason")?;
    ensure(reason.contains("authorized:1") && reason.contains("expiry-time"), || event.to_string())
}
