//! Unix sockets that a peer may use.

use std::fmt;
use std::str::FromStr;

/// Unix sockets that the peer may connect to, or make us listen on. As text: an absolute path, or `DIRECTORY/*` for
/// everything directly in a directory.
///
/// Paths are compared as they are written: `..`, `.` and doubled slashes are in no permit and meet none. Who can make
/// symbolic links in a permitted directory can lead the peer elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitPath {
    /// Without the star, with the slash before it.
    path: Box<str>,
    is_directory: bool,
}

/// A text that is no permit for sockets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an absolute path, or one with `/*` at its end")]
pub struct BadPermitPath(String);

impl PermitPath {
    pub(super) fn admits(&self, path: &str) -> bool {
        if self.is_directory {
            path.strip_prefix(&*self.path).is_some_and(is_name)
        } else {
            path == &*self.path
        }
    }
}

impl FromStr for PermitPath {
    type Err = BadPermitPath;

    fn from_str(text: &str) -> Result<Self, BadPermitPath> {
        let is_directory = text.ends_with("/*");
        let path = if is_directory { text.strip_suffix('*').unwrap_or(text) } else { text };
        // Between the slash at the front and that of a directory.
        let names = path.strip_prefix('/');
        let names =
            names.map(|names| if is_directory { names.strip_suffix('/').unwrap_or(names) } else { names });
        let fits = path == "/" && is_directory || names.is_some_and(|names| names.split('/').all(is_name));
        if fits && !path.contains(['*', '\0']) {
            Ok(Self { path: path.into(), is_directory })
        } else {
            Err(BadPermitPath(text.to_owned()))
        }
    }
}

impl fmt::Display for PermitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        f.write_str(if self.is_directory { "*" } else { "" })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_as_written() {
        let table = [
            ("/run/a", "/run/a", true),
            ("/run/a", "/run/b", false),
            ("/run/a", "/run/a/", false),
            ("/run/a", "/run//a", false),
            ("/run/a", "run/a", false),
            ("/run/*", "/run/a", true),
            ("/run/*", "/run/", false),
            ("/run/*", "/run/..", false),
            ("/run/*", "/run/a/b", false),
            ("/run/*", "/run/../etc", false),
            ("/run/*", "/running", false),
            ("/*", "/a", true),
            ("/*", "/a/b", false),
        ];
        for (permit, path, admitted) in table {
            let permit: PermitPath = permit.parse().unwrap();
            assert_eq!(permit.admits(path), admitted, "{permit} {path}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "any", "*", "a", "a/b", "/", "/a/", "/a/../b", "/a//b", "//*", "/a*", "/*/b", "/a/./*"]
        {
            assert!(text.parse::<PermitPath>().is_err(), "{text}");
        }
        for text in ["/a", "/a/b.sock", "/a/*", "/*"] {
            assert_eq!(text.parse::<PermitPath>().unwrap().to_string(), text);
        }
    }
}
