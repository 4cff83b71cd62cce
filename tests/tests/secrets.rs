//! What must stay secret is in no log, however much is logged.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::keys::{KeyFile, KeyKind, output};
#[cfg(target_os = "linux")]
use tests::memory::Pieces;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::USER;
use tests::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

const PASSWORD: &str = "planted-passw0rd-for-the-log";
const WRONG_PASSWORD: &str = "a-wr0ng-one-is-secret-too";
const PASSPHRASE: &str = "planted-passphrase-4711";

/// Something that must not be found, in whatever form a careless line might give it.
struct Planted {
    name: &'static str,
    secret: Vec<u8>,
}

impl Planted {
    fn new(name: &'static str, secret: impl Into<Vec<u8>>) -> Self {
        Self { name, secret: secret.into() }
    }

    /// The form and the piece that were found. Pieces of nine bytes: a line may be cut, and in base64 one of them is
    /// aligned.
    fn find(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        let compact: String = lower.chars().filter(|c| !matches!(c, ' ' | ':' | '-' | ',')).collect();
        for piece in self.secret.windows(PIECE) {
            let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let prefixed: String = piece.iter().map(|byte| format!("0x{byte:02x}")).collect();
            let decimal = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            let base64 = base64(piece);
            let url = base64.replace('+', "-").replace('/', "_");
            let raw = std::str::from_utf8(piece).unwrap_or(&hex).to_owned();
            let escaped = piece.escape_ascii().to_string();
            let as_is = [
                ("raw", raw),
                ("escaped", escaped),
                ("decimal", decimal),
                ("base64", base64),
                ("base64url", url),
            ];
            for (form, piece) in as_is {
                if text.contains(&piece) {
                    return Some(format!("{} as {form}: {piece}", self.name));
                }
            }
            for (form, piece) in [("hex", hex), ("hex with 0x", prefixed)] {
                if compact.contains(&piece) {
                    return Some(format!("{} as {form}: {piece}", self.name));
                }
            }
        }
        None
    }
}

const PIECE: usize = 9;

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |bits: &[u8]| usize::from(bits.iter().fold(0, |value, bit| value << 1 | bit));
    bits.chunks(6).map(|six| char::from(ALPHABET[value(six)])).collect()
}

#[test]
fn what_is_planted_is_found_in_every_form() {
    let seed: Vec<u8> = (0..32).map(|number: u8| number.wrapping_mul(91).wrapping_add(17)).collect();
    let planted = Planted::new("key", seed.clone());
    let spaced: String = seed.iter().map(|byte| format!("{byte:02X}:")).collect();
    let plain: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let offset = base64(&[&[1][..], &seed, &[2, 3]].concat());
    for text in [spaced, plain, offset, format!("{seed:?}"), format!("{seed:#04x?}").replace('\n', "")] {
        assert!(planted.find(&format!("a line with {text} in it")).is_some(), "{text}");
    }
    let password = Planted::new("password", PASSWORD);
    for text in [
        format!("cut {}", &PASSWORD[3..17]),
        format!("{:?}", PASSWORD.as_bytes()),
        base64(PASSWORD.as_bytes()),
    ] {
        assert!(password.find(&text).is_some(), "{text}");
    }
    assert!(password.find("password for the log").is_none());
}

/// The 32 bytes that an Ed25519 key is made of, out of OpenSSH's unencrypted file.
fn seed_of(key: &KeyFile) -> Outcome<Vec<u8>> {
    let pem = std::fs::read_to_string(&key.path)?;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let blob = decode(&body);
    let public = key.public_line()?;
    let public = decode(public.split(' ').nth(1).unwrap_or_default());
    let point = public.get(public.len().saturating_sub(32)..).unwrap_or_default();
    // string(64) of seed and point.
    let found = blob.windows(68).find(|part| part.starts_with(&[0, 0, 0, 64]) && part.ends_with(point));
    let seed =
        found.and_then(|part| part.get(4..36)).ok_or_else(|| Failure::new("no seed in the key file"))?;
    Ok(seed.to_vec())
}

fn decode(base64: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let symbols = base64.bytes().filter(|byte| *byte != b'=');
    let bits: Vec<u8> = symbols.flat_map(|c| (0..6).rev().map(move |bit| value(c) >> bit & 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

#[tokio::test]
async fn no_password_passphrase_or_key_is_logged_by_either_side() -> Outcome {
    let adit = Adit::find().await?;
    let files = TempDir::new()?;
    let host = KeyFile::generate(files.path(), "host", KeyKind::Ed25519).await?;
    let user = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let planted = [
        Planted::new("password", PASSWORD),
        Planted::new("wrong password", WRONG_PASSWORD),
        Planted::new("passphrase", PASSPHRASE),
        Planted::new("user key", seed_of(&user)?),
        Planted::new("host key", seed_of(&host)?),
    ];
    let mut encrypt = Command::new("ssh-keygen");
    output(encrypt.args(["-q", "-p", "-a", "2", "-P", "", "-N", PASSPHRASE, "-f"]).arg(&user.path)).await?;
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).map(|()| path.display().to_string())
    };
    // In the clear, for that is what a server could log.
    let password = file("password", &format!("{PASSWORD}\n"))?;
    let wrong = file("wrong", &format!("{WRONG_PASSWORD}\n"))?;

    let mut command =
        adit.command(["-vvv", "serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
    command.env("ADIT_LOG", "trace").arg("--host-key").arg(&host.path);
    command.arg("--authorized-keys").arg(&user.public).args(["--user", &format!("{USER}:{password}")]);
    let mut server = Process::spawn("adit serve", &mut command)?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    let target = format!("{USER}@127.0.0.1:{port}");
    let forward = ["-vvv", "forward", "-D", "127.0.0.1:0", "--host-key", &host.fingerprint, &target];

    let mut logs = Vec::new();
    for (file, comes_in) in [(&password, true), (&wrong, false)] {
        let mut command = adit.command(forward);
        command.env("ADIT_LOG", "trace").args(["--password-file", file]);
        let client = Process::spawn("adit forward", &mut command)?;
        let ended = if comes_in { "connected to" } else { "cannot log in" };
        client.wait_log("the end of the login", |log| log.contains(ended).then_some(())).await?;
        logs.push(("adit forward with a password", client.log()));
    }
    logs.push((
        "adit forward with a passphrase",
        with_passphrase(&adit, &forward, &user, files.path()).await?,
    ));
    for _ in 0..2 {
        adit::event(&mut server, "logged_in").await?;
    }
    logs.push(("adit serve", server.log()));
    for (name, log) in &logs {
        ensure(log.contains("DEBUG"), || format!("{name} logged next to nothing: {log}"))?;
    }

    let hash = within(STEP, "hashing", hash_password(&adit)).await?;
    logs.push(("adit hash-password", hash));
    for (name, log) in &logs {
        for planted in &planted {
            if let Some(found) = planted.find(log) {
                return Err(Failure::new(format!("{name} logs the {found}")));
            }
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn passwords_do_not_stay_in_memory() -> Outcome {
    let adit = Adit::find().await?;
    let files = TempDir::new()?;
    let host = KeyFile::generate(files.path(), "host", KeyKind::Ed25519).await?;
    let path = files.path().join("password");
    std::fs::write(&path, format!("{PASSWORD}\n"))?;
    let path = path.display().to_string();

    let mut command = adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
    command.arg("--host-key").arg(&host.path).args(["--user", &format!("{USER}:{path}")]);
    let mut server = Process::spawn("adit serve", &mut command)?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    let target = format!("{USER}@127.0.0.1:{port}");
    for _ in 0..3 {
        let mut command =
            adit.command(["forward", "--json", "-D", "127.0.0.1:0", &target, "--password-file", &path]);
        // Who comes back by itself needs the password again.
        command.arg("--no-reconnect");
        let mut client = Process::spawn("adit forward", command.args(["--host-key", &host.fingerprint]))?;
        adit::event(&mut client, "ready").await?;
        adit::event(&mut server, "logged_in").await?;
        for (name, process) in [("adit forward", &client), ("adit serve", &server)] {
            // Long texts only: what is left of a freed block begins with the allocator's own words.
            let id = process.id().ok_or_else(|| Failure::new("the process has ended"))?;
            // Who has used it last may not have let go of it yet.
            within(STEP, &format!("that {name} has forgotten the password"), async {
                while !Pieces::new([&PASSWORD.as_bytes()[8..]])?.find_in(id)?.is_empty() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            })
            .await?;
            // And it would have been found: this text is in use.
            let control = Pieces::new([USER.as_bytes()])?.find_in(id)?.len();
            ensure(control > 0, || format!("nothing is found in the memory of {name}"))?;
        }
    }
    Ok(())
}

/// Logs in with an encrypted key, whose passphrase is typed at a terminal; what was logged.
async fn with_passphrase(adit: &Adit, forward: &[&str], user: &KeyFile, files: &Path) -> Outcome<String> {
    let log = files.join("log");
    // `script` gives the command a terminal of its own; what it says goes to a file.
    let quoted = |text: &str| format!("'{text}'");
    let plain = adit.command(forward);
    let plain = plain.as_std();
    let mut line = format!("exec {}", quoted(&plain.get_program().to_string_lossy()));
    for argument in plain.get_args().map(|text| text.to_string_lossy()) {
        line.push(' ');
        line.push_str(&quoted(&argument));
    }
    line.push_str(&format!(" -i '{}' 2>'{}'", user.path.display(), log.display()));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("ADIT_LOG", "trace").env_remove("ADIT_PASSWORD");
    command.env_remove("SSH_AUTH_SOCK").env("HOME", files);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let missing = || Failure::new("a stream of `script` is missing");
    let (mut stdin, mut stdout) =
        (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut shown = String::new();
    let done = within(STEP, "logging in with a passphrase", async {
        while !shown.contains("Passphrase for") {
            let mut part = [0; 1024];
            let count = stdout.read(&mut part).await?;
            ensure(count > 0, || format!("`script` ended: {shown}"))?;
            shown.push_str(&String::from_utf8_lossy(part.get(..count).unwrap_or_default()));
        }
        stdin.write_all(format!("{PASSPHRASE}\n").as_bytes()).await?;
        stdin.flush().await?;
        while !read().contains("connected to") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await;
    done.map_err(|failure| failure.with_log("adit forward", &read()))?;
    // Interrupts what runs in that terminal.
    stdin.write_all(b"\x03").await?;
    let _ = within(STEP, "the end", async { Ok(child.wait().await?) }).await;
    Ok(read())
}

async fn hash_password(adit: &Adit) -> Outcome<String> {
    let mut command = adit.command(["-vvv", "hash-password"]);
    command.env("ADIT_LOG", "trace").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("no stdin"))?;
    stdin.write_all(format!("{PASSWORD}\n").as_bytes()).await?;
    drop(stdin);
    let said = child.wait_with_output().await?;
    ensure(said.status.success(), || "hash-password failed".to_owned())?;
    // What it prints is its purpose, and says little: enough to be looked at.
    Ok(format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
        .repeat(4))
}
