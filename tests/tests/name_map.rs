//! The owner's documents name items; each is a Rust item with a test, or has a reason not to be. `name-map/` says which.
//!
//! What the maps point at is looked up in the sources, so a renamed item or a deleted test shows here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

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
    let root = root();
    let crates = crates(&root);
    let mut faults = Vec::new();
    for &(map, count) in MAPS {
        let path = root.join("tests/name-map").join(map).with_extension("toml");
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
            for path in item.rust.iter().filter(|path| !declares(&crates, path)) {
                fault(item, format!("there is no {path}"));
            }
            for test in item.test.iter().filter(|test| !is_test(&root, test)) {
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
    let root = root();
    let crates = crates(&root);
    for (path, there) in [
        ("ssh_core::server::AuthMethod::PublicKeyQuery", true),
        ("ssh_core::server::AuthMethod::PublicKeyQueried", false),
        ("ssh_core::server::AuthMethods::PublicKeyQuery", false),
        ("ssh_core", false),
        ("russh::server::AuthMethod", false),
    ] {
        assert_eq!(declares(&crates, path), there, "{path}");
    }
    for (test, there) in [
        ("tests/tests/name_map.rs::what_is_not_there_is_not_found", true),
        ("tests/tests/name_map.rs::what_is_not_there", false),
        ("tests/tests/name_map.rs::is_test", false),
        ("tests/tests/no_map.rs::what_is_not_there_is_not_found", false),
    ] {
        assert_eq!(is_test(&root, test), there, "{test}");
    }
}

#[test]
fn the_public_key_flow_cites_its_rfcs() {
    let sources = root().join("ssh-core/src/protocol");
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
            std::fs::read_to_string(sources.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
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

/// Whether one file of the crate declares the last name of the path and, if that is not a module or the crate, mentions
/// the one before it too.
fn declares(crates: &HashMap<&str, Vec<String>>, path: &str) -> bool {
    let names: Vec<&str> = path.split("::").collect();
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return false };
    let Some(files) = crates.get(first.replace('_', "-").as_str()) else { return false };
    let owner = names.iter().rev().nth(1).filter(|name| name.starts_with(char::is_uppercase));
    let declared = Regex::new(&format!(
        r"(?m)(\b(fn|struct|enum|union|trait|type|const|static|mod|macro_rules!)\s+{0}\b|^\s*(pub(\(\w+\))? )?{0}\s*[,:({{=]|^\s*\d+ {0}\b)",
        regex::escape(last)
    ))
    .expect("a name is a fine pattern");
    names.len() > 1
        && files.iter().any(|text| {
            declared.is_match(text)
                && owner.is_none_or(|owner| {
                    Regex::new(&format!(r"\b{}\b", regex::escape(owner)))
                        .expect("a fine pattern")
                        .is_match(text)
                })
        })
}

fn is_test(root: &Path, test: &str) -> bool {
    let Some((file, function)) = test.rsplit_once("::") else { return false };
    std::fs::read_to_string(root.join(file)).is_ok_and(|text| {
        let attributes = r"#\[(tokio::)?test\b[^\]]*\]\s*(#\[[^\]]*\]\s*)*";
        let pattern = format!(r"{attributes}(async )?fn {}\s*\(", regex::escape(function));
        Regex::new(&pattern).expect("a fine pattern").is_match(&text)
    })
}

/// The sources of each crate.
fn crates(root: &Path) -> HashMap<&'static str, Vec<String>> {
    ["ssh-core", "multichannel", "securestream", "relay", "cli", "tests"]
        .map(|name| (name, sources(&root.join(name).join("src"))))
        .into()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(std::fs::read_to_string(&path).expect("source text"));
            }
        }
    }
    texts
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").to_owned()
}
