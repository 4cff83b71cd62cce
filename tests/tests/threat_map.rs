//! Each attack and each fault that somebody has thought of has a row in a table, and each row has its tests:
//! `name-map/threats-*.toml` says which. What they point at is looked up in the sources, and, where the document lies beside
//! the checkout, each of its rows is looked up in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::HashSet;

use regex::Regex;
use serde::Deserialize;
use tests::sources::{Sources, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Map {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The document's section.
    section: String,
    /// What the row begins with.
    attack: String,
    /// `file::function`, the file from the workspace's root on.
    tests: Vec<String>,
    /// Why a part of the row does not hold, or how it does.
    reason: Option<String>,
}

/// The maps that together have all rows.
const ALL: [&str; 2] = ["threats-core.toml", "threats-relay.toml"];

fn maps() -> Vec<(String, Map)> {
    let folder = root().join("tests/name-map");
    let mut maps = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the maps") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("threats-") {
            let text = std::fs::read_to_string(&path).expect("a text");
            maps.push((
                name,
                toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            ));
        }
    }
    assert!(!maps.is_empty(), "there is no map");
    maps
}

#[test]
fn every_row_has_tests_that_are_there() {
    let (sources, mut faults) = (Sources::read(), Vec::new());
    for (name, map) in maps() {
        let mut rows = HashSet::new();
        for row in &map.row {
            let mut fault =
                |text: String| faults.push(format!("{name}: {} {}: {text}", row.section, row.attack));
            if !rows.insert((&row.section, &row.attack)) {
                fault("twice".into());
            }
            if row.tests.is_empty() && row.reason.as_deref().is_none_or(|reason| reason.len() < 12) {
                fault("neither a test nor a reason".into());
            }
            for test in row.tests.iter().filter(|test| !sources.has_test(test)) {
                fault(format!("there is no test {test}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The first cells of the rows of the tables in the sections that are about attacks and faults.
fn rows(document: &str) -> Vec<(String, String)> {
    let heading = Regex::new(r"^##+ (\d(?:\.\d)?)\.? ").expect("a fine pattern");
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in document.lines() {
        if let Some(found) = heading.captures(line) {
            section = found[1].to_owned();
        }
        let first = line.strip_prefix("| ").and_then(|line| line.split(" | ").next());
        if let Some(first) = first.filter(|first| !["Attack", "Promise"].contains(first)) {
            rows.push((section.clone(), first.trim().to_owned()));
        }
    }
    rows.retain(|(section, _)| is_about_attacks(section));
    rows
}

fn is_about_attacks(section: &str) -> bool {
    section.starts_with("2.") || section == "5"
}

#[test]
fn every_row_of_the_document_is_in_a_map() {
    // It is no part of the project, so it need not be there.
    let Ok(document) = std::fs::read_to_string(root().join("../shared/threats.md")) else { return };
    let (rows, maps) = (rows(&document), maps());
    assert!(rows.len() > 60, "only {} rows were found", rows.len());
    let mut faults = Vec::new();
    for (section, cell) in &rows {
        let fits = |row: &&Row| row.section == *section && cell.starts_with(&row.attack);
        let found: Vec<usize> = maps.iter().map(|(_, map)| map.row.iter().filter(fits).count()).collect();
        let all: usize = found.iter().sum();
        // What core and relay share may have an entry in each.
        if found.iter().any(|count| *count > 1) || (section != "5" && all > 1) {
            faults.push(format!("{section} {cell}: {all} entries"));
        }
        let is_complete = ALL.iter().all(|name| maps.iter().any(|(map, _)| map == name));
        if all == 0 && (is_complete || !is_of_the_relay(section, cell)) {
            faults.push(format!("{section} {cell}: no entry"));
        }
    }
    for (name, row) in maps.iter().flat_map(|(name, map)| map.row.iter().map(move |row| (name, row))) {
        let is_in_a_row =
            |(section, cell): &(String, String)| *section == row.section && cell.starts_with(&row.attack);
        // Other sections have tables of another form, or none.
        let is_there = match is_about_attacks(&row.section) {
            true => rows.iter().any(is_in_a_row),
            false => document.contains(&row.attack),
        };
        if !is_there {
            faults.push(format!("{name}: {} {}: no such row", row.section, row.attack));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn is_of_the_relay(section: &str, cell: &str) -> bool {
    let words = ["relay", "tunnel", "token rotation"];
    section == "2.6" || words.iter().any(|word| cell.contains(word))
}

#[test]
fn rows_of_a_document_are_found() {
    let document = "## 2. Attacks\n\n### 2.1 Before\n\n| Attack | Required |\n|---|---|\n| one `x` | y |\n\n## 3. Limits\n\
        | a | b |\n## 5. Promises\n| Promise | Test |\n|---|---|\n| two, three | z |\n";
    let expected = [("2.1", "one `x`"), ("5", "two, three")];
    assert_eq!(rows(document), expected.map(|(section, cell)| (section.to_owned(), cell.to_owned())));
}
