//! What `ssh-audit` says of `adit serve`.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::adit::{self, Adit};
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::asyncssh::python_tool;
use tests::peers::{Keyring, skip};
use tests::process::Process;
use tokio::process::Command;

/// A complaint of any weight above "info".
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    list: &'static str,
    algorithm: String,
    note: String,
}

const NOT_POST_QUANTUM: &str = "does not provide protection against post-quantum attacks";

#[tokio::test]
async fn nothing_to_say_of_the_hardened_policy() -> Outcome {
    let kinds = [KeyKind::Ed25519, KeyKind::Rsa];
    let Some(complaints) = audit(&["--policy", "hardened"], &kinds).await? else { return Ok(()) };
    ensure(complaints.is_empty(), || format!("ssh-audit complains: {complaints:#?}"))
}

#[tokio::test]
async fn of_the_defaults_only_what_is_there_for_older_peers() -> Outcome {
    let kinds =
        [KeyKind::Ed25519, KeyKind::Ecdsa(256), KeyKind::Ecdsa(384), KeyKind::Ecdsa(521), KeyKind::Rsa];
    let Some(complaints) = audit(&[], &kinds).await? else { return Ok(()) };
    let not_post_quantum: BTreeSet<String> = complaints
        .iter()
        .filter(|complaint| complaint.list == "kex" && complaint.note == NOT_POST_QUANTUM)
        .map(|complaint| complaint.algorithm.clone())
        .collect();
    let (expected, unexpected): (Vec<_>, Vec<_>) = complaints.into_iter().partition(|complaint| {
        let old_exchange = complaint.list == "kex" && not_post_quantum.contains(&complaint.algorithm);
        old_exchange || complaint.algorithm.contains("nistp")
    });
    ensure(unexpected.is_empty(), || format!("ssh-audit complains of more: {unexpected:#?}"))?;
    // If these were missing, either the defaults or the audit would not be what we think.
    for (list, algorithm) in
        [("kex", "curve25519-sha256"), ("kex", "ecdh-sha2-nistp384"), ("key", "ecdsa-sha2-nistp256")]
    {
        let found =
            expected.iter().any(|complaint| complaint.list == list && complaint.algorithm == algorithm);
        ensure(found, || format!("no complaint of {algorithm}: {expected:#?}"))?;
    }
    Ok(())
}

async fn audit(options: &[&str], kinds: &[KeyKind]) -> Outcome<Option<BTreeSet<Complaint>>> {
    let Some(tool) = python_tool("ssh-audit") else {
        return skip("ssh-audit", "its Python environment is missing (tests/peers/setup makes it)");
    };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let mut command = adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
    command.arg("--authorized-keys").arg(&keys.user(KeyKind::Ed25519)?.public);
    for &kind in kinds {
        command.arg("--host-key").arg(&keys.host(kind)?.path);
    }
    let mut server = Process::spawn("adit serve", command.args(options))?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;

    let mut command = Command::new(tool);
    command.args(["--json", "--skip-rate-test", "--port", &port.to_string(), "127.0.0.1"]).kill_on_drop(true);
    // Its exit code tells of complaints too; the report says which.
    let output = within(STEP, "ssh-audit", async { Ok(command.output().await?) }).await?;
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        server.explain(Failure::new(format!("{error}: ssh-audit printed {said}")))
    })?;
    let cves = report.get("cves").and_then(Value::as_array);
    ensure(cves.is_some_and(Vec::is_empty), || format!("known holes: {:?}", report.get("cves")))?;
    let mut complaints = BTreeSet::new();
    for list in ["kex", "key", "enc", "mac"] {
        let entries = report.get(list).and_then(Value::as_array).filter(|entries| !entries.is_empty());
        // Only AEAD ciphers leave the list of MACs without a use, never without a name.
        let entries = entries.ok_or_else(|| Failure::new(format!("the audit found nothing in {list}")))?;
        for entry in entries {
            complaints.extend(complaints_of(list, entry)?);
        }
    }
    Ok(Some(complaints))
}

fn complaints_of(list: &'static str, entry: &Value) -> Outcome<Vec<Complaint>> {
    let algorithm = adit::text(entry, "algorithm")?;
    let notes = entry.get("notes").ok_or_else(|| Failure::new(format!("no notes on {algorithm}")))?;
    let weights = ["fail", "warn"].into_iter().filter_map(|weight| notes.get(weight)?.as_array());
    let notes = weights.flatten().filter_map(Value::as_str);
    Ok(notes.map(|note| Complaint { list, algorithm: algorithm.to_owned(), note: note.to_owned() }).collect())
}
