//! The owner's documents name items; each is a Rust item with a test, or has a reason not to be. `name-map/` says which.
//!
//! What the maps point at is looked up in the sources, so a renamed item or a deleted test shows here.

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
    /// `file::function`, the file from the workspace's root on.
    #[serde(default)]
    test: Vec<String>,
    /// Why there is no item, or no test of its own.
    reason: Option<String>,
}

/// A map, and how many lines its document has: none may get lost.
const MAPS: [(&str, usize, Wanted); 4] = [
    ("auth-callback", 25, Wanted::ItemAndTest),
    ("public-key-flow", 17, Wanted::ItemAndTest),
    ("auth-hook", 23, Wanted::ItemAndTest),
    ("session-api", 419, Wanted::Item),
];

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Item,
    ItemAndTest,
}

#[test]
fn every_item_is_there_or_has_a_reason() {
    let root = root();
    let crates: HashMap<&str, Vec<String>> =
        ["ssh-core", "multichannel", "securestream", "relay", "cli", "tests"]
            .map(|name| (name, sources(&root.join(name).join("src"))))
            .into();
    let mut faults = Vec::new();
    for (map, count, wanted) in MAPS {
        let path = root.join("tests/name-map").join(map).with_extension("toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
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
            if wanted == Wanted::ItemAndTest && item.test.is_empty() && !reason {
                fault(item, "neither a test nor a reason".into());
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
                    Regex::new(&format!(r"\b{}\b", regex::escape(owner))).expect("a fine pattern").is_match(text)
                })
        })
}

fn is_test(root: &Path, test: &str) -> bool {
    let Some((file, function)) = test.rsplit_once("::") else { return false };
    std::fs::read_to_string(root.join(file)).is_ok_and(|text| {
        Regex::new(&format!(r"\bfn {}\s*\(", regex::escape(function))).expect("a fine pattern").is_match(&text)
    })
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
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
