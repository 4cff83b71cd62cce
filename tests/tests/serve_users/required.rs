//! What else may let in, and what may be asked for: authorities, several steps.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::peers::{PASSWORD, USER};
use tests::traffic::Target;

use super::door::{Door, PASSWORD_ONLY, certified, hash_password, write};

#[tokio::test]
async fn a_trusted_authority_lets_in_whom_it_names() -> Outcome {
    let files = TempDir::new()?;
    let authority = KeyFile::generate(files.path(), "ca", KeyKind::Ed25519).await?;
    let named = TempDir::new()?;
    let other = TempDir::new()?;
    let ours = certified(named.path(), &authority, &["-n", USER]).await?;
    let theirs = certified(other.path(), &authority, &["-n", "theirs"]).await?;
    let mut door = Door::open(&["--trusted-ca", &authority.public.display().to_string()], files).await?;
    door.expect(&["-i", &ours.path.display().to_string()], "", true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["keys"] == serde_json::json!([ours.fingerprint]), || event.to_string())?;
    door.expect(&["-i", &theirs.path.display().to_string()], "", false).await?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    ensure(adit::text(&event, "reason")?.contains("its id"), || event.to_string())?;
    // The authority itself is nobody.
    door.expect(&["-i", &authority.path.display().to_string()], "", false).await
}

#[tokio::test]
async fn what_is_required_is_required() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let second = KeyFile::generate(files.path(), "second", KeyKind::Ecdsa(256)).await?;
    let lines = format!("restrict,port-forwarding {}\n{}\n", key.public_line()?, second.public_line()?);
    let authorized = write(&files, "authorized", &lines)?.display().to_string();
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    let (key, second) = (key.path.display().to_string(), second.path.display().to_string());
    let one_key = ["-i", &key];
    let (with_one, with_two) = (
        ["-i", &key, "-o", "PreferredAuthentications=publickey"],
        ["-i", &key, "-i", &second, "-o", "PreferredAuthentications=publickey"],
    );
    let banner = write(&files, "banner", "Only for those who may.\n")?.display().to_string();
    let common = ["--authorized-keys", &authorized, "--user", &user, "--banner", &banner, "--require"];

    let both = Door::open(&[&common[..], &["publickey+password"]].concat(), TempDir::new()?).await?;
    both.expect(&one_key, PASSWORD, true).await?;
    both.expect(&one_key, "wrong", false).await?;
    both.expect(&with_one, PASSWORD, false).await?;
    both.expect(&with_two, PASSWORD, false).await?;
    both.expect(PASSWORD_ONLY, PASSWORD, false).await?;
    let (_, log) = both.lets_in(&one_key, PASSWORD).await?;
    ensure(log.contains("Only for those who may."), || format!("no banner: {log}"))?;

    let either =
        Door::open(&[&common[..], &["publickey+publickey,keyboard-interactive"]].concat(), TempDir::new()?)
            .await?;
    either.expect(&with_two, PASSWORD, true).await?;
    either.expect(&with_one, PASSWORD, false).await?;
    let asked = ["-o", "PreferredAuthentications=keyboard-interactive"];
    either.expect(&asked, PASSWORD, true).await?;
    either.expect(&asked, "wrong", false).await?;
    either.expect(PASSWORD_ONLY, PASSWORD, false).await
}

/// Says the password, after somebody has written to a file.
#[derive(Debug)]
struct Meanwhile(PathBuf, String);

impl ssh_core::client::PasswordPrompt for Meanwhile {
    fn password(&self) -> futures::future::BoxFuture<'_, Option<zeroize::Zeroizing<String>>> {
        let written = std::fs::write(&self.0, &self.1);
        Box::pin(std::future::ready(written.ok().map(|()| zeroize::Zeroizing::new(PASSWORD.to_owned()))))
    }
}

#[tokio::test]
async fn what_an_earlier_step_may_not_do_the_login_may_not_do() -> Outcome {
    use ssh_core::client::{self, Credential};
    use ssh_core::keys::{KeyPair, SigningKey};
    let files = TempDir::new()?;
    let failure = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let file = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let key = KeyPair::read_file(&file.path, None).map_err(|error| failure(&error))?;
    let (one, two) = (Target::echo().await?, Target::echo().await?);
    let line = file.public_line()?;
    let restricted = format!("permitopen=\"127.0.0.1:{}\" {line}\n", one.port);
    let authorized = write(&files, "authorized", &restricted)?;
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    let path = authorized.display().to_string();
    let arguments = ["--authorized-keys", &path, "--user", &user, "--require", "publickey+password"];
    let door = Door::open(&arguments, TempDir::new()?).await?;
    // The file between the two steps, and what is then allowed.
    for (meanwhile, expected) in [
        (restricted, Some([true, false])),
        (format!("{line}\n"), Some([true, true])),
        (format!("restrict {line}\n"), Some([false, false])),
        ("# nobody\n".to_owned(), None),
    ] {
        std::fs::write(&authorized, format!("{line}\n"))?;
        let signing = SigningKey::new(&key.private, ssh_core::crypto::default_provider());
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .authenticate(Credential::key(signing.map_err(|error| failure(&error))?))
            .authenticate(Credential::ask_password(Meanwhile(authorized.clone(), meanwhile.clone())))
            .build()
            .map_err(|error| failure(&error))?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", door.port)).await?;
        let session = client::connect(stream, config).await;
        ensure(session.is_ok() == expected.is_some(), || {
            format!("{meanwhile}: {:?}", session.as_ref().err())
        })?;
        let (Ok(session), Some(expected)) = (session, expected) else { continue };
        for (target, opens) in [&one, &two].into_iter().zip(expected) {
            let mut fields = Vec::new();
            for port in [u32::from(target.port), 1] {
                fields.extend(9_u32.to_be_bytes());
                fields.extend(b"127.0.0.1");
                fields.extend(port.to_be_bytes());
            }
            let opened = session.open_channel_with("direct-tcpip", &fields).await;
            ensure(opened.is_ok() == opens, || format!("{meanwhile}: {:?}", opened.err()))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_met_is_said_at_once() -> Outcome {
    let adit = Adit::find().await?;
    let files = TempDir::new()?;
    let password = write(&files, "password", "x")?;
    let costly = write(&files, "costly", "$6$rounds=999999999$salt$x")?;
    let user = |path: &Path| format!("{USER}:{}", path.display());
    let base = ["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"];
    let missing = files.path().join("missing").display().to_string();
    for (arguments, code, part) in [
        (
            vec!["--user".to_owned(), user(&password), "--require".into(), "publickey+password".into()],
            2,
            "--trusted-ca",
        ),
        (vec!["--require".into(), "password".into()], 2, "--user"),
        (vec!["--require".into(), "magic".into()], 2, "publickey"),
        (vec!["--user".into(), user(&costly)], 8, "rounds"),
        (vec!["--trusted-ca".into(), missing.clone()], 8, "missing"),
        (vec!["--banner".into(), missing], 8, "missing"),
    ] {
        let arguments = base.iter().map(|text| (*text).to_owned()).chain(arguments);
        let exit = adit.run(arguments, STEP).await?;
        let said = exit.events.iter().map(Value::to_string).collect::<String>();
        ensure(exit.code == Some(code) && said.contains(part), || format!("{:?}: {said}", exit.code))?;
    }
    Ok(())
}
