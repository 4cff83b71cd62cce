//! `adit token`: makes tokens of a relay, takes them back, and shows what one says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relay::dial::http::Method;
use relay::link::Link;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api::{Api, printable, segment};
use super::{session, token_file};
use crate::args::{TokenAction, TokenCreateArgs, TokenRevokeArgs};
use crate::error::{CliError, Code};
use crate::output::{Event, Output, print};

/// What it takes to make tunnels and to do everything with them.
const OWNER: [&str; 5] = ["create", "manage", "manage:ports", "host", "connect"];

/// # Errors
/// The relay cannot be reached or refuses, or the token is none.
pub(crate) async fn run(action: TokenAction, output: &Output) -> Result<(), CliError> {
    match action {
        TokenAction::Create(args) => create(args, output).await,
        TokenAction::Inspect => inspect(output),
        TokenAction::Revoke(args) => revoke(args, output).await,
    }
}

async fn create(args: TokenCreateArgs, output: &Output) -> Result<(), CliError> {
    let scopes = match (args.scope.is_empty(), &args.tunnel) {
        (false, _) => args.scope,
        (true, None) => OWNER.map(str::to_owned).to_vec(),
        (true, Some(tunnel)) => {
            let example = "for one who connects, --scope connect";
            return Err(CliError::usage(format!("say what the token for {tunnel} allows: {example}")));
        }
    };
    let api = Api::new(&args.api)?;
    let mut wanted = json!({ "scopes": scopes, "expiresIn": args.expires.0 });
    if let Some(fields) = wanted.as_object_mut() {
        if let Some(tunnel) = &args.tunnel {
            fields.insert("tunnelId".into(), json!(tunnel));
        }
        if let Some(subject) = &args.subject {
            fields.insert("subject".into(), json!(subject));
        }
    }
    let made = api.ask(Method::POST, "/tokens", Some(wanted)).await?;
    let field = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("token").is_empty() {
        return Err(CliError::new(Code::Protocol, "the relay's answer holds no token; check its version"));
    }
    if output.is_json() {
        return output.result(&Event::Token {
            token: Some(field("token")),
            id: field("id"),
            tunnel: made.get("tunnelId").and_then(Value::as_str),
            scopes: field("scopes"),
            subject: field("subject"),
            expires: field("expiration").to_owned(),
        });
    }
    print(format!("{}\n", field("token")))
}

/// What the token on stdin says. Nobody is asked, so nothing is said about whether it holds.
fn inspect(output: &Output) -> Result<(), CliError> {
    let token = token_file::read_stdin()?;
    let none = || {
        CliError::new(Code::Usage, "that is no token of a relay; an admin token says nothing about itself")
    };
    let claims = match token.split('.').collect::<Vec<_>>().as_slice() {
        [_, claims, _] => URL_SAFE_NO_PAD.decode(claims).map_err(|_| none())?,
        _ => return Err(none()),
    };
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| none())?;
    let field = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let expires = claims.get("exp").and_then(Value::as_u64).ok_or_else(none)?;
    let now = session::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let tunnel = claims.get("tunnelId").and_then(Value::as_str);
    if output.is_json() {
        return output.result(&Event::Token {
            token: None,
            id: field("jti"),
            tunnel,
            scopes: field("scp"),
            subject: field("sub"),
            expires: rfc3339(expires),
        });
    }
    let left = match expires.checked_sub(now) {
        Some(left) if left > 0 => format!("in {left} s"),
        _ => "it has expired".into(),
    };
    let text = format!(
        "id:      {}\ntunnel:  {}\nscopes:  {}\nsubject: {}\nexpires: {} ({left})\n",
        printable(field("jti")),
        printable(tunnel.unwrap_or("all of the subject")),
        printable(field("scp")),
        printable(field("sub")),
        rfc3339(expires),
    );
    print(&text)
}

async fn revoke(args: TokenRevokeArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::new(&args.api)?;
    let id = match &args.id {
        Some(id) => {
            api.ask(Method::DELETE, &format!("/tokens/{}", segment(id)), None).await?;
            id.clone()
        }
        None => {
            let token = of_link(token_file::read_stdin()?);
            // Whoever has nothing else may give back their own.
            let api = if api.has_token() { api } else { api.with_token(token.clone()) };
            api.ask(Method::POST, "/tokens/revoke", Some(json!({ "token": *token }))).await?;
            "the token".to_owned()
        }
    };
    output.result(&Event::Done { what: format!("revoked {id}") })
}

/// The token in a link, where somebody gives that as a host has printed it.
fn of_link(text: Zeroizing<String>) -> Zeroizing<String> {
    let link: Option<Link> = text.trim_matches(['\'', '"']).parse().ok();
    link.and_then(|link| link.token).unwrap_or(text)
}

fn rfc3339(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}
