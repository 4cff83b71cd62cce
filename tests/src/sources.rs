//! What the workspace's sources declare, for tests that hold documents against them.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// The sources, each read once.
pub struct Sources {
    root: PathBuf,
    crates: HashMap<&'static str, Vec<File>>,
    tests: RefCell<HashMap<PathBuf, HashSet<String>>>,
}

struct File {
    declared: HashSet<String>,
    words: HashSet<String>,
}

const CRATES: [&str; 6] = ["ssh-core", "multichannel", "securestream", "relay", "cli", "tests"];

impl Sources {
    /// Reads the workspace that this crate was built in.
    #[must_use]
    pub fn read() -> Self {
        let root = root();
        let patterns = [
            // Items, …
            r"\b(?:const\s+(?:async\s+)?fn|fn|struct|enum|union|trait|type|const|static|mod|macro_rules!)\s+(\w+)\b",
            // … fields, variants, and what macros make of a list, …
            r"(?m)^\s*(?:pub(?:\(\w+\))? )?(\w+)\s*[,:({=]",
            // … with a number before the name.
            r"(?m)^\s*\d+ (\w+)\b",
        ];
        let patterns = patterns.map(|pattern| Regex::new(pattern).expect("a fine pattern"));
        let word = Regex::new(r"\w+").expect("a fine pattern");
        let file = |text: String| File {
            declared: patterns.iter().flat_map(|pattern| names(pattern, &text)).collect(),
            words: word.find_iter(&text).map(|found| found.as_str().to_owned()).collect(),
        };
        let files = |name| texts(&root.join(name).join("src")).into_iter().map(file).collect();
        let crates = CRATES.map(|name| (name, files(name))).into();
        Self { root, crates, tests: RefCell::default() }
    }

    /// Whether one file of the crate that the path begins with declares its last name and, if that is neither in a module
    /// nor in the crate itself, mentions the one before it too.
    #[must_use]
    pub fn declares(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split("::").collect();
        let [first, .., last] = names.as_slice() else { return false };
        let owner = names.iter().rev().nth(1).filter(|name| name.starts_with(char::is_uppercase));
        self.crates.get(first.replace('_', "-").as_str()).is_some_and(|files| {
            files.iter().any(|file| {
                file.declared.contains(*last) && owner.is_none_or(|owner| file.words.contains(*owner))
            })
        })
    }

    /// Whether there is this test, as `file::function` with the file from the root on.
    #[must_use]
    pub fn has_test(&self, test: &str) -> bool {
        let Some((file, function)) = test.rsplit_once("::") else { return false };
        let path = self.root.join(file);
        let mut tests = self.tests.borrow_mut();
        let of_file = tests.entry(path).or_insert_with_key(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let attributes = r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*";
            let pattern = format!(r"{attributes}(?:async )?fn (\w+)\s*\(");
            names(&Regex::new(&pattern).expect("a fine pattern"), &text).collect()
        });
        of_file.contains(function)
    }
}

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").to_owned()
}

/// What the first group of a pattern finds.
fn names(pattern: &Regex, text: &str) -> impl Iterator<Item = String> {
    let found: Vec<String> =
        pattern.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str().to_owned())).collect();
    found.into_iter()
}

fn texts(folder: &Path) -> Vec<String> {
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
