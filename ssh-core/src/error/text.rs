//! A peer's words, made fit for people to see.

/// Makes a peer's words fit for a terminal and a log: control characters escaped, at most 256 characters.
#[must_use]
pub fn escape_text(text: &[u8]) -> String {
    clean_text(text, MAX_SHOWN_TEXT, 1)
}

/// Makes a peer's words fit for a terminal: control characters escaped, cut at about `max` bytes. If it may have more
/// than one line, tabs and up to `lines` line feeds are kept, and CR LF becomes LF.
pub(crate) fn clean_text(text: &[u8], max: usize, lines: usize) -> String {
    let shown = text.get(..max.saturating_add(1)).unwrap_or(text);
    let shown = String::from_utf8_lossy(shown);
    let mut out = String::new();
    let mut feeds: usize = 0;
    let mut chars = shown.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() >= max || feeds >= lines {
            out.push('…');
            break;
        }
        if lines > 1 && c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        if lines > 1 && matches!(c, '\n' | '\t') {
            feeds = feeds.saturating_add(usize::from(c == '\n'));
            out.push(c);
            continue;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hidden { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A peer's text is cut at about this many bytes before a human sees it.
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
        assert_eq!(clean_text(b"1\n2\n3\n4", 100, 2), "1\n2\n…");
    }
}
