//! The same `authorized_keys` and certificates mean the same to OpenSSH's server.

use std::path::Path;

use tempfile::TempDir;
use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::endpoint::Endpoint;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::openssh::OpenSsh;
use tests::peers::{ClientSettings, Keyring, Login, Peer, ServerSettings, USER};
use tests::traffic::{Ending, Target, exchange};

use super::door::certified;

/// What a client is let do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct May {
    log_in: bool,
    reach_one: bool,
    reach_two: bool,
    listen: bool,
}

const ALL: May = May { log_in: true, reach_one: true, reach_two: true, listen: true };
const NOTHING: May = May { log_in: false, reach_one: false, reach_two: false, listen: false };
const NO_FORWARDS: May = May { log_in: true, ..NOTHING };
const ONE_AND_LISTEN: May = May { reach_two: false, ..ALL };

struct World {
    adit: Adit,
    openssh: OpenSsh,
    keys: Keyring,
    one: Target,
    two: Target,
}

impl World {
    async fn new() -> Outcome<Option<Self>> {
        let Some(openssh) = OpenSsh::find().await? else { return Ok(None) };
        let (one, two) = (Target::echo().await?, Target::echo().await?);
        Ok(Some(Self { adit: Adit::find().await?, openssh, keys: Keyring::generate().await?, one, two }))
    }

    /// What OpenSSH's client may do with `key` where `authorized` is the file of authorized keys.
    async fn may<P: Peer>(&self, server: &P, authorized: &Path, key: &KeyFile) -> Outcome<May> {
        let suite = Suite::default();
        let host_key = self.keys.host(KeyKind::Ed25519)?;
        let user_key = &KeyFile { public: authorized.to_owned(), ..key.clone() };
        let server =
            server.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
        let settings = ClientSettings {
            port: server.port,
            host_key,
            login: Login::Key(key),
            suite: &suite,
            local: None,
            remote: None,
            rekey_bytes: None,
        };
        let client = match self.openssh.connect(settings).await {
            Ok(client) => client,
            Err(failure) if failure.to_string().contains("Permission denied") => return Ok(NOTHING),
            Err(failure) => return Err(failure.with_log("server", &server.log())),
        };
        drop(client);
        let mut may = NO_FORWARDS;
        for (target, reached) in [(&self.one, &mut may.reach_one), (&self.two, &mut may.reach_two)] {
            let client =
                self.openssh.connect(ClientSettings { local: Some(target.port), ..settings }).await?;
            *reached = is_echoed(client.local.as_ref()).await?;
        }
        let remote = self.openssh.connect(ClientSettings { remote: Some(self.one.port), ..settings }).await;
        may.listen = match remote {
            Ok(client) => is_echoed(client.remote.as_ref()).await?,
            Err(_) => false,
        };
        Ok(may)
    }

    async fn compare(&self, name: &str, lines: &str, key: &KeyFile, expected: May) -> Outcome {
        let folder = TempDir::new()?;
        let authorized = folder.path().join("authorized_keys");
        std::fs::write(&authorized, lines)?;
        let there = self.may(&self.openssh, &authorized, key).await?;
        let here = self.may(&self.adit, &authorized, key).await?;
        ensure(there == expected, || format!("{name}: OpenSSH allows {there:?}, not {expected:?}"))?;
        ensure(here == expected, || format!("{name}: Adit allows {here:?}, OpenSSH {there:?}"))
    }
}

async fn is_echoed(entry: Option<&Endpoint>) -> Outcome<bool> {
    let Some(entry) = entry else { return Ok(false) };
    let stream = entry.connect().await?;
    Ok(within(STEP, "an exchange", exchange(stream, 3, 1000, Ending::HalfClose)).await.is_ok())
}

#[tokio::test]
async fn options_of_authorized_keys_mean_what_they_mean_to_openssh() -> Outcome {
    let Some(world) = World::new().await? else { return Ok(()) };
    let key = world.keys.user(KeyKind::Ed25519)?;
    let line = key.public_line()?;
    let other = world.keys.user(KeyKind::Ecdsa(256))?.public_line()?;
    let one = world.one.port;
    let open_one = format!("permitopen=\"127.0.0.1:{one}\"");
    for (options, expected) in [
        ("", ALL),
        ("no-pty,no-X11-forwarding,no-agent-forwarding,no-user-rc,command=\"echo \\\"a, b\\\"\"", ALL),
        ("from=\"127.0.0.1\"", ALL),
        ("from=\"127.0.0.0/8\"", ALL),
        ("from=\"127.0.*\"", ALL),
        ("from=\"10.0.0.0/8,127.0.0.1/32\"", ALL),
        ("from=\"10.0.0.0/8\"", NOTHING),
        ("from=\"*,!127.0.0.1\"", NOTHING),
        ("from=\"!127.0.0.0/8,*\"", NOTHING),
        ("from=\"!10.0.0.0/8\"", NOTHING),
        ("from=\"*.example.com\"", NOTHING),
        ("from=\"127.0.0.1/8\"", NOTHING),
        ("from=\"::1\"", NOTHING),
        ("from=\"127.0.0.1\",from=\"127.0.0.1\"", NOTHING),
        ("expiry-time=\"20200101\"", NOTHING),
        ("expiry-time=\"202001011200Z\"", NOTHING),
        ("expiry-time=\"20991231\"", ALL),
        ("expiry-time=\"20991231235959Z\"", ALL),
        ("expiry-time=\"20991231\",expiry-time=\"20200101\"", NOTHING),
        ("expiry-time=\"tomorrow\"", NOTHING),
        ("no-port-forwarding", NO_FORWARDS),
        ("restrict", NO_FORWARDS),
        ("restrict,port-forwarding", ALL),
        ("port-forwarding,restrict", NO_FORWARDS),
        (&open_one, ONE_AND_LISTEN),
        (&format!("{open_one},permitopen=\"localhost:1\""), ONE_AND_LISTEN),
        (&format!("restrict,{open_one}"), NO_FORWARDS),
        (&format!("restrict,port-forwarding,{open_one}"), ONE_AND_LISTEN),
        ("permitopen=\"127.0.0.1:*\"", ALL),
        ("permitlisten=\"1\"", May { listen: false, ..ALL }),
        ("permitlisten=\"localhost:1\"", May { listen: false, ..ALL }),
        ("permitopen=\"nonsense\"", NOTHING),
        ("cert-authority", NOTHING),
        ("unknown-option", NOTHING),
        ("restrict=\"x\"", NOTHING),
        ("command=unquoted", NOTHING),
        ("command=\"unclosed", NOTHING),
        ("environment=\"A=b\",tunnel=\"0\"", ALL),
    ] {
        world.compare(options, &format!("{options} {line}\n"), key, expected).await?;
    }
    let lines =
        format!("# comment\n\nfrom=\"10.0.0.1\" {line}\n{other}\n\trestrict {line} someone\n{line}\n");
    world.compare("the first line that allows it", &lines, key, NO_FORWARDS).await
}

#[tokio::test]
async fn certificates_mean_what_they_mean_to_openssh() -> Outcome {
    let Some(world) = World::new().await? else { return Ok(()) };
    let authority = world.keys.user(KeyKind::Ecdsa(384))?;
    let line = authority.public_line()?;
    // The lines' options, what the certificate is made with, and what follows.
    for (options, made_with, expected) in [
        ("cert-authority", &["-n", USER][..], ALL),
        ("cert-authority", &["-n", "somebody,else"], NOTHING),
        ("cert-authority,principals=\"team,boss\"", &["-n", "x,team"], ALL),
        ("cert-authority,principals=\"team\"", &["-n", USER], NOTHING),
        ("", &["-n", USER], NOTHING),
        ("cert-authority,restrict", &["-n", USER], NO_FORWARDS),
        ("cert-authority,from=\"10.0.0.1\"", &["-n", USER], NOTHING),
        ("cert-authority,expiry-time=\"20200101\"", &["-n", USER], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "20200101:20200102"], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "+1d:+2d"], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "-1h:+1h"], ALL),
        ("cert-authority", &["-n", USER, "-O", "source-address=10.0.0.0/8"], NOTHING),
        ("cert-authority", &["-n", USER, "-O", "source-address=127.0.0.1/32"], ALL),
        ("cert-authority", &["-n", USER, "-O", "no-port-forwarding"], NO_FORWARDS),
        ("cert-authority", &["-n", USER, "-O", "clear"], NO_FORWARDS),
        ("cert-authority", &["-n", USER, "-O", "critical:unknown@example.com"], NOTHING),
        ("cert-authority", &["-n", USER, "-O", "extension:unknown@example.com"], ALL),
        ("cert-authority", &["-n", USER, "-h"], NOTHING),
        ("cert-authority,command=\"true\"", &["-n", USER], ALL),
        ("cert-authority,command=\"true\"", &["-n", USER, "-O", "force-command=true"], ALL),
        ("cert-authority,command=\"true\"", &["-n", USER, "-O", "force-command=false"], NOTHING),
    ] {
        let folder = TempDir::new()?;
        let key = certified(folder.path(), authority, made_with).await?;
        let name = format!("{options} {made_with:?}");
        world.compare(&name, &format!("{options} {line}\n"), &key, expected).await?;
    }
    Ok(())
}
