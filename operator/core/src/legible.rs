//! What outsiders said, in a line that can be shown: in a status, a log, on a terminal.

use std::fmt::Write as _;

/// The longest text that is shown whole, in characters.
const LONGEST: usize = 1000;

/// How much of a longer one is shown of its beginning and of its end.
const EACH_END: usize = 450;

/// The longest part of a text that is shown inside a sentence, in characters.
const EXCERPT: usize = 100;

/// The text in one line, without what would write on a terminal by itself, and without its middle when it is long: the
/// beginning says what it is about, and the end what to do.
pub fn legible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::new();
    for c in text.trim().chars() {
        if hidden(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    let length = line.chars().count();
    if length <= LONGEST {
        return line;
    }
    let start = |n: usize| line.char_indices().nth(n).map_or(line.len(), |(at, _)| at);
    let mut short = line[..start(EACH_END)].to_owned();
    // Writing to a String cannot fail.
    let _ = write!(short, "… ({} characters are left out) …", length - 2 * EACH_END);
    short.push_str(&line[start(length - EACH_END)..]);
    short
}

/// A text that outsiders wrote, for the middle of a sentence that says what to do after it, or that shows it twice: the
/// beginning of it when it is long, so that [`legible`] leaves the sentence whole.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_text_stays_as_it_is() {
        assert_eq!(legible("found \"é\", expected 1"), "found \"é\", expected 1");
    }

    #[test]
    fn what_writes_on_a_terminal_is_written_out() {
        assert_eq!(legible("a\r\n\u{1b}[31mb\u{2028}\u{202e}\n"), "a\\r\\n\\u{1b}[31mb\\u{2028}\\u{202e}");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let text = format!("found {}, expected 1", "é".repeat(200_000));
        let short = legible(&text);
        assert!(short.starts_with("found éé") && short.ends_with("éé, expected 1"), "{short}");
        assert!(short.contains("(199118 characters are left out)"), "{short}");
        assert!(short.chars().count() <= LONGEST);
        assert_eq!(legible(&short), short, "once is enough");
    }

    #[test]
    fn what_a_sentence_shows_twice_leaves_the_sentence_whole() {
        assert_eq!(excerpt("yes"), "yes");
        let found = excerpt(&"é".repeat(200_000));
        let sentence = format!("found {found}: quote it (\"{found}\") if it is meant as text");
        assert!(found.ends_with("éé…") && legible(&sentence) == sentence, "{sentence}");
    }
}
