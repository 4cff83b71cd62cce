//! A peer's words, made fit for people to see.

/// Makes a peer's words fit for a terminal and a log: control characters escaped, at most 256 characters.
#[must_use]
pub fn escape_text(text: &[u8]) -> String {
    clean_text(text, MAX_SHOWN_TEXT, 1)
}

/// Makes a peer's words fit for a terminal: control characters escaped, cut at `max` bytes. If it may have more than one
/// line, tabs and up to `lines` line feeds are kept, and CR LF becomes LF. Made fit once more it stays as it is.
pub(crate) fn clean_text(text: &[u8], max: usize, lines: usize) -> String {
    let shown = text.get(..max.saturating_add(1)).unwrap_or(text);
    let shown = String::from_utf8_lossy(shown);
    let mut out = String::new();
    let mut feeds: usize = 0;
    let mut chars = shown.chars().peekable();
    while let Some(c) = chars.next() {
        if lines > 1 && c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        let before = out.len();
        if lines > 1 && matches!(c, '\n' | '\t') {
            out.push(c);
        } else if c.is_control() || is_invisible(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if feeds >= lines || out.len() > max {
            out.truncate(before);
            out.push('…');
            break;
        }
        feeds = feeds.saturating_add(usize::from(lines > 1 && c == '\n'));
    }
    out
}

/// What takes no room, or turns the words around it: others would be read than are there.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A peer's text is cut at this many bytes before a human sees it.
const MAX_SHOWN_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_texts_cut() {
        assert_eq!(escape_text(b"a\x1b[31m\r\n"), "a\\u{1b}[31m\\r\\n");
        assert_eq!(escape_text("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert!(escape_text(&[b'x'; 100_000]).chars().count() <= 257);
        assert!(escape_text(&[b'x'; 100_000]).ends_with("x…"));
        assert_eq!(clean_text(b"a\r\nb\rc\td\x1b\n", 100, 10), "a\nb\\rc\td\\u{1b}\n");
        assert_eq!(escape_text("a\u{feff}\u{ad}\u{61c}b".as_bytes()), "a\\u{feff}\\u{ad}\\u{61c}b");
        // An escape is whole or not there, and what was cut is not cut again.
        for len in 250..260 {
            let once = escape_text(&[vec![b'x'; len], vec![0x1b; 3]].concat());
            assert!(once.len() <= 256 + '…'.len_utf8(), "{}", once.len());
            assert_eq!(escape_text(once.as_bytes()), once);
        }
        assert_eq!(clean_text(b"1\n2\n3\n4", 100, 2), "1\n2\n…");
    }
}
