//! Users kept in a file, behind a program and behind a web service: one [`UserStore`] each, and a login against each.
//!
//! ```text
//! cargo run -p ssh-core --example user_stores
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{self, Credential, danger::AcceptAnyHostKey};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{AuthorizedKeys, KeyKind, KeyPair, SigningKey};
use ssh_core::server::{self, CannotCheck, Method, StoreAuthenticator, StoredUser, UserStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

type Found<'a> = BoxFuture<'a, Result<Option<StoredUser>, CannotCheck>>;

/// A user with the keys or fingerprints of these lines. Without any there is no such user.
fn user(name: &str, keys: &str, source: &str) -> Option<StoredUser> {
    let keys = AuthorizedKeys::parse(keys.as_bytes(), source);
    let found = StoredUser::new(name);
    let found = keys.entries().iter().fold(found, |found, entry| found.key(entry.key.clone()));
    (!found.keys.is_empty()).then_some(found)
}

fn cannot(error: impl std::fmt::Display) -> CannotCheck {
    CannotCheck(error.to_string())
}

/// A file with lines of a name and a key or a fingerprint. It is read for every attempt: a line that is taken out counts
/// at once.
#[derive(Debug)]
struct FileUsers(PathBuf);

impl UserStore for FileUsers {
    fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        async move {
            let text = tokio::fs::read_to_string(&self.0).await.map_err(cannot)?;
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            let keys: Vec<_> = lines.filter(|(of, _)| *of == name).map(|(_, key)| key).collect();
            Ok(user(name, &keys.join("\n"), "the users' file"))
        }
        .boxed()
    }
}

/// A program that is given the name and prints the keys. A name is an argument of its own and never part of a command
/// line; it goes behind `--`, so that it cannot be an option either.
#[derive(Debug)]
struct ProgramUsers(PathBuf);

impl UserStore for ProgramUsers {
    fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        async move {
            if name.contains('\0') {
                return Ok(None);
            }
            let mut command = Command::new("sh");
            // If the attempt's time is up, the program ends too.
            command.arg(&self.0).args(["--", name]).kill_on_drop(true);
            let output = command.output().await.map_err(cannot)?;
            if !output.status.success() {
                return Err(cannot(output.status));
            }
            let keys = String::from_utf8(output.stdout).map_err(cannot)?;
            Ok(user(name, &keys, "the program"))
        }
        .boxed()
    }
}

/// A web service that answers `GET /users/NAME` with the keys. A real one would be asked over HTTPS.
#[derive(Debug)]
struct WebUsers(std::net::SocketAddr);

/// More than anybody's keys take, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

impl UserStore for WebUsers {
    fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        async move {
            let mut path = String::new();
            for byte in name.bytes() {
                path.push_str(&format!("%{byte:02x}"));
            }
            let mut stream = TcpStream::connect(self.0).await.map_err(cannot)?;
            let request = format!("GET /users/{path} HTTP/1.0\r\n\r\n");
            stream.write_all(request.as_bytes()).await.map_err(cannot)?;
            let mut answer = String::new();
            stream.take(MAX_ANSWER).read_to_string(&mut answer).await.map_err(cannot)?;
            let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| cannot("half an answer"))?;
            match head.split(' ').nth(1) {
                Some("200") => Ok(user(name, body, "the web service")),
                Some("404") => Ok(None),
                status => Err(cannot(format!("the web service says {status:?}"))),
            }
        }
        .boxed()
    }
}

/// The web service.
async fn serve_web(listener: TcpListener, key: String) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap_or(0);
        // "ada", byte by byte.
        let is_ada = request.get(..read).is_some_and(|text| text.starts_with(b"GET /users/%61%64%61 "));
        let answer = if is_ada {
            format!("HTTP/1.0 200 OK\r\n\r\n{key}\n")
        } else {
            "HTTP/1.0 404 Not Found\r\n\r\n".to_owned()
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// Whether this key lets this user in.
async fn log_in(config: &Arc<server::Config>, name: &str, key: &KeyPair) -> Result<bool, ssh_core::Error> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let key = SigningKey::new(&key.private, default_provider())?;
    let client = client::Config::builder(name)
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::key(key))
        .build()?;
    let (client, server) =
        tokio::join!(client::connect(near, client), server::accept(far, Arc::clone(config)));
    Ok(client.is_ok() && server.is_ok_and(|session| session.principal().is_some()))
}

async fn show(what: &str, store: impl UserStore + 'static, key: &KeyPair) -> Result<(), ssh_core::Error> {
    let provider = default_provider();
    let host_key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0)?, provider)?;
    let authenticator = StoreAuthenticator::new(store, [Method::PublicKey]);
    let config = server::Config::builder(authenticator).host_key(host_key).build()?;
    let other = KeyPair::generate(provider, KeyKind::Ed25519, 0)?;
    let right = log_in(&config, "ada", key).await?;
    let wrong_key = log_in(&config, "ada", &other).await?;
    let wrong_user = log_in(&config, "eve", key).await?;
    println!("{what}: her key {right}, another key {wrong_key}, her key for another user {wrong_user}");
    assert!(right && !wrong_key && !wrong_user, "{what}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = KeyPair::generate(default_provider(), KeyKind::Ed25519, 0)?;
    let (line, fingerprint) = (key.public_line().to_string(), key.public_key().fingerprint());
    let folder = tempfile::tempdir()?;

    let file = folder.path().join("users");
    std::fs::write(&file, format!("bob SHA256:none\nada {line}\n"))?;
    show("a file with whole keys", FileUsers(file.clone()), &key).await?;
    std::fs::write(&file, format!("ada {fingerprint}\n"))?;
    show("a file with fingerprints", FileUsers(file), &key).await?;

    let program = folder.path().join("find_keys");
    std::fs::write(&program, format!("if [ \"$2\" = ada ]; then echo '{line}'; fi\n"))?;
    show("a program", ProgramUsers(program), &key).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve_web(listener, line));
    show("a web service", WebUsers(address), &key).await?;
    Ok(())
}
