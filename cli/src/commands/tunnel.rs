//! `adit tunnel`: the tunnels of a relay.

use std::fmt::Write as _;

use relay::dial::http::Method;
use serde_json::{Value, json};

use super::api::{Api, printable, segment};
use crate::args::{TunnelAccessArgs, TunnelAction, TunnelCreateArgs, TunnelPortsArgs, Who};
use crate::error::{CliError, Code};
use crate::output::{Event, Output, print};

/// # Errors
/// The relay cannot be reached, or refuses.
pub(crate) async fn run(action: TunnelAction, output: &Output) -> Result<(), CliError> {
    match action {
        TunnelAction::List(api) => list(&Api::new(&api)?, output).await,
        TunnelAction::Show(args) => {
            let api = Api::new(&args.api)?;
            show(&api.ask(Method::GET, &path(&args.tunnel), None).await?, output)
        }
        TunnelAction::Create(args) => create(args, output).await,
        TunnelAction::Delete(args) => {
            Api::new(&args.api)?.ask(Method::DELETE, &path(&args.tunnel), None).await?;
            output.result(&Event::Done { what: format!("deleted {}", args.tunnel) })
        }
        TunnelAction::Ports(args) => ports(args, output).await,
        TunnelAction::Access(args) => access(args, output).await,
    }
}

async fn list(api: &Api, output: &Output) -> Result<(), CliError> {
    let answer = api.ask(Method::GET, "/tunnels", None).await?;
    let regions = items(&answer, "value");
    let tunnels: Vec<&Value> = regions.iter().flat_map(|region| items(region, "value")).collect();
    if output.is_json() {
        for tunnel in tunnels {
            output.result(&Event::Tunnel { tunnel })?;
        }
        return Ok(());
    }
    let mut text = String::new();
    for tunnel in tunnels {
        let count = |name| tunnel.get("status").and_then(|status| status.get(name)).and_then(Value::as_u64);
        let host = if count("hostConnectionCount").unwrap_or(0) > 0 { "hosted" } else { "no host" };
        let clients = count("clientConnectionCount").unwrap_or(0);
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{}\t{host}\t{clients} clients\t{}\t{}",
            word(tunnel, "tunnelId"),
            port_list(tunnel),
            word(tunnel, "description")
        );
    }
    print(&text)
}

async fn create(args: TunnelCreateArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::new(&args.api)?;
    let id = match args.tunnel {
        Some(id) => id,
        None => random_id()?,
    };
    let ports: Vec<Value> =
        args.port.iter().map(|port| json!({ "portNumber": port, "protocol": "auto" })).collect();
    let mut body = json!({ "tunnelId": id, "ports": ports });
    if let Some(fields) = body.as_object_mut() {
        if let Some(description) = args.description {
            fields.insert("description".into(), json!(description));
        }
        if let Some(expires) = args.expires {
            fields.insert("customExpiration".into(), json!(expires.0));
        }
        if !args.allow.is_empty() {
            fields.insert("accessControl".into(), json!({ "entries": entries(&args.allow, false) }));
        }
    }
    show(&api.ask_if(Method::PUT, &path(&id), Some(body), Some("if-none-match")).await?, output)
}

async fn ports(args: TunnelPortsArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::new(&args.api)?;
    let tunnel = path(&args.tunnel);
    let base = format!("{tunnel}/ports");
    let shown = api.ask(Method::GET, &tunnel, None).await?;
    let number = |port: &Value| port.get("portNumber").and_then(Value::as_u64);
    let is_listed =
        |wanted: u16| items(&shown, "ports").iter().any(|port| number(port) == Some(wanted.into()));
    // Before anything is changed.
    if let Some(missing) = args.remove.iter().find(|port| !is_listed(**port) && !args.add.contains(*port)) {
        return Err(CliError::new(
            Code::RemoteRefused,
            format!("{} has no port {missing}; `adit tunnel ports {0}` shows those that it has", args.tunnel),
        ));
    }
    for port in &args.add {
        let body = json!({ "portNumber": port, "protocol": "auto" });
        api.ask(Method::PUT, &format!("{base}/{port}"), Some(body)).await?;
    }
    for port in &args.remove {
        api.ask(Method::DELETE, &format!("{base}/{port}"), None).await?;
    }
    let answer = api.ask(Method::GET, &base, None).await?;
    list_ports(&answer, output)?;
    let hosts = shown.pointer("/status/hostConnectionCount").and_then(Value::as_u64).unwrap_or(0);
    if hosts > 0 && !(args.add.is_empty() && args.remove.is_empty()) {
        output.warning(format!(
            "{} has a host now, which offers what it offered before: this changes only what the relay lists; `adit host \
             --ports-file FILE` lets a running host's ports be changed",
            args.tunnel
        ));
    }
    Ok(())
}

fn list_ports(answer: &Value, output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        for port in items(answer, "value") {
            output.result(&Event::Port { port })?;
        }
        return Ok(());
    }
    let mut text = String::new();
    for port in items(answer, "value") {
        let number = port.get("portNumber").and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(text, "{number}\t{}\t{}", word(port, "protocol"), word(port, "name"));
    }
    print(&text)
}

async fn access(args: TunnelAccessArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::new(&args.api)?;
    let path = format!("{}/access", path(&args.tunnel));
    let mut control = api.ask(Method::GET, &path, None).await?;
    if args.clear || !args.allow.is_empty() || !args.deny.is_empty() {
        let mut rules = if args.clear { Vec::new() } else { items(&control, "entries").to_vec() };
        for rule in entries(&args.allow, false).into_iter().chain(entries(&args.deny, true)) {
            // Also one that a host has made for as long as it says so: from now on it stays.
            rules.retain(|known| !is_same_rule(known, &rule));
            rules.push(rule);
        }
        control = api.ask(Method::PUT, &path, Some(json!({ "entries": rules }))).await?;
    }
    if output.is_json() {
        return output.result(&Event::Access { tunnel: &args.tunnel, entries: items(&control, "entries") });
    }
    let mut text = String::new();
    for entry in items(&control, "entries") {
        let is = |name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or(false);
        let words = |name: &str| -> String {
            let list: Vec<String> =
                items(entry, name).iter().filter_map(Value::as_str).map(printable).collect();
            list.join(" ")
        };
        let verb = if is("isDeny") { "deny" } else { "allow" };
        let not = if is("isInverse") { "all but " } else { "" };
        let _ =
            writeln!(text, "{verb}\t{not}{} {}\t{}", word(entry, "type"), words("subjects"), words("scopes"));
    }
    print(&text)
}

fn show(tunnel: &Value, output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.result(&Event::Tunnel { tunnel });
    }
    let count =
        |name| tunnel.get("status").and_then(|status| status.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let text = format!(
        "tunnel:      {}\nname:        {}\ndescription: {}\nports:       {}\nhosts:       {}\nclients:     {}\n",
        word(tunnel, "tunnelId"),
        word(tunnel, "name"),
        word(tunnel, "description"),
        port_list(tunnel),
        count("hostConnectionCount"),
        count("clientConnectionCount"),
    );
    print(&text)
}

/// Rules as the relay keeps them.
pub(crate) fn entries(rules: &[Who], is_deny: bool) -> Vec<Value> {
    let entry = |rule: &Who| {
        let (kind, subjects) = match rule {
            Who::Anonymous => ("Anonymous", Vec::new()),
            Who::User(name) => ("Users", vec![name.clone()]),
            Who::Range(range) => ("IPAddressRanges", vec![range.clone()]),
        };
        json!({ "type": kind, "subjects": subjects, "scopes": ["connect"], "isDeny": is_deny })
    };
    rules.iter().map(entry).collect()
}

/// Whether two rules say the same, whatever else they bear.
pub(crate) fn is_same_rule(one: &Value, other: &Value) -> bool {
    let is = |rule: &Value, name: &str| rule.get(name).and_then(Value::as_bool).unwrap_or(false);
    one.get("type") == other.get("type")
        && ["subjects", "scopes"].iter().all(|name| items(one, name) == items(other, name))
        && ["isDeny", "isInverse"].iter().all(|name| is(one, name) == is(other, name))
}

pub(crate) fn path(tunnel: &str) -> String {
    format!("/tunnels/{}", segment(tunnel))
}

pub(crate) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value, name: &str) -> String {
    printable(value.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn port_list(tunnel: &Value) -> String {
    let numbers =
        items(tunnel, "ports").iter().filter_map(|port| port.get("portNumber")).map(Value::to_string);
    numbers.collect::<Vec<_>>().join(",")
}

/// What ids are written with, so that none is misread: 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 100 bits: where everybody may connect, knowing the id is all it takes, so nobody may guess one.
const ID_LETTERS: usize = 20;

/// An id that nobody else has.
pub(crate) fn random_id() -> Result<String, CliError> {
    let mut bytes = [0; ID_LETTERS];
    let random = super::session::PROVIDER.random;
    random.fill(&mut bytes).map_err(|_| CliError::new(Code::Internal, "the system gives no randomness"))?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte & 31)).copied().map_or('x', char::from);
    Ok(bytes.iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use relay::model::is_tunnel_id;

    use super::*;

    #[test]
    fn ids_have_100_bits_and_are_those_of_the_service() {
        assert_eq!(LETTERS.iter().collect::<BTreeSet<_>>().len(), 32, "a letter is 5 bits");
        let ids: Vec<String> = (0..2000).map(|_| random_id().unwrap()).collect();
        assert!(ids.iter().all(|id| is_tunnel_id(id) && id.len() * 5 >= 96), "{:?}", ids.first());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        // Every place takes every letter: no bit of the 100 is always the same.
        for place in 0..ID_LETTERS {
            let seen: BTreeSet<u8> = ids.iter().map(|id| id.as_bytes()[place]).collect();
            assert_eq!(seen.len(), LETTERS.len(), "place {place}");
        }
    }
}
