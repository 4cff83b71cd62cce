//! The owner's documents name items; each is a Rust item with a test, or has a reason not to be. `name-map/` says which.
//!
//! What the maps point at is looked up in the sources, so a renamed item or a deleted test shows here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::HashSet;

use serde::Deserialize;
use tests::sources::{Sources, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Map {
    item: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    /// As the document has it.
    name: String,
    /// Paths as a user would write them, from the crate's name on; `cli` for what only the command has.
    #[serde(default)]
    rust: Vec<String>,
    /// `file::function`, the file from the workspace's root on: what would fail if the line were broken.
    #[serde(default)]
    test: Vec<String>,
    /// Why there is no item, or no test of its own.
    reason: Option<String>,
}

/// A map, and how many lines its document has: none may get lost.
const MAPS: &[(&str, usize)] =
    &[("auth-callback", 25), ("public-key-flow", 17), ("auth-hook", 23), ("session-api", 419), ("traps", 17)];

#[test]
fn every_item_is_there_or_has_a_reason() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for &(map, count) in MAPS {
        let path = root().join("tests/name-map").join(map).with_extension("toml");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let map_of: Map = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut fault = |item: &Item, text: String| faults.push(format!("{map}: {}: {text}", item.name));
        let mut names = HashSet::new();
        for item in &map_of.item {
            if !names.insert(&item.name) {
                fault(item, "twice".into());
            }
            let reason = item.reason.as_deref().is_some_and(|reason| reason.len() >= 12);
            if item.rust.is_empty() && !reason {
                fault(item, "neither an item nor a reason".into());
            }
            if item.test.is_empty() && !reason {
                fault(item, "neither a test nor a reason".into());
            }
            if item.test.is_empty() && !item.rust.is_empty() {
                fault(item, "an item without a test".into());
            }
            for path in item.rust.iter().filter(|path| !sources.declares(path)) {
                fault(item, format!("there is no {path}"));
            }
            for test in item.test.iter().filter(|test| !sources.has_test(test)) {
                fault(item, format!("there is no test {test}"));
            }
        }
        if map_of.item.len() != count {
            faults.push(format!("{map}: {} items instead of {count}", map_of.item.len()));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_is_not_there_is_not_found() {
    let sources = Sources::read();
    for (path, there) in [
        ("ssh_core::server::AuthMethod::PublicKeyQuery", true),
        ("ssh_core::server::AuthMethod::PublicKeyQueried", false),
        ("ssh_core::server::AuthMethods::PublicKeyQuery", false),
        ("ssh_core", false),
        ("russh::server::AuthMethod", false),
    ] {
        assert_eq!(sources.declares(path), there, "{path}");
    }
    for (test, there) in [
        ("tests/tests/name_map.rs::what_is_not_there_is_not_found", true),
        ("tests/tests/name_map.rs::what_is_not_there", false),
        ("tests/tests/name_map.rs::is_test", false),
        ("tests/tests/no_map.rs::what_is_not_there_is_not_found", false),
    ] {
        assert_eq!(sources.has_test(test), there, "{test}");
    }
}

#[test]
fn the_public_key_flow_cites_its_rfcs() {
    let folder = root().join("ssh-core/src/protocol");
    for (file, cited) in [
        ("wire/mod.rs", "RFC 4251 §5"),
        ("wire/mpint.rs", "RFC 4251 §5"),
        ("auth/mod.rs", "RFC 4252"),
        ("auth/client.rs", "RFC 4252 §7"),
        ("auth/server/request.rs", "RFC 4252 §7"),
        ("messages/table.rs", "RFC 4252 §7"),
        ("messages/table.rs", "RFC 4253 §7.1"),
        ("transport/kex/exchange_hash.rs", "RFC 4253 §8"),
    ] {
        let text =
            std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(cited), "{file} does not cite {cited}");
    }
}

#[test]
fn the_table_for_users_of_wolfssh_has_every_name() {
    let table = root().join("ssh-core/src/server/coming_from_wolfssh.md");
    let table = std::fs::read_to_string(table).expect("the table");
    let types = ["PASSWORD", "PUBLICKEY", "KEYBOARD", "KEYBOARD_SETUP", "NONE"];
    let results = ["SUCCESS", "FAILURE", "REJECTED", "PARTIAL_SUCCESS", "SUCCESS_ANOTHER", "WOULD_BLOCK"];
    let wrong = ["INVALID_AUTHTYPE", "INVALID_USER", "INVALID_PASSWORD", "INVALID_PUBLICKEY"];
    let names = types.iter().chain(&results).chain(&wrong).map(|name| format!("`WOLFSSH_USERAUTH_{name}`"));
    let others =
        ["WS_CallbackUserAuth", "UserAuthCb(authType, authData, ctx)", "hasSignature", "hasNewPassword"];
    for name in names.chain(others.map(str::to_owned)) {
        assert!(table.contains(&name), "{name} has no row");
    }
}
