//! The seal at the end of a line: its number in its file, and the hash that ties it to the line before it.
//!
//! ```text
//! 2026-11-28T03:00:00.000Z paris shop/shop epoch=3 serial=12 intent: record Promoting #17-9f86d081884c7d65
//! ```
//!
//! What the hash is made of is the operator's; here is only how it is written.

/// How many hexadecimal digits a hash has.
pub const DIGITS: usize = 16;

/// A line's seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal<'a> {
    /// The line's number in its file, from 1.
    pub number: u64,
    /// The hash.
    pub hash: &'a str,
}

/// Whether this is written as a hash is.
pub fn is_hash(word: &str) -> bool {
    word.len() == DIGITS && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A line without its end: its text, and its seal if it has one.
pub fn split(line: &str) -> (&str, Option<Seal<'_>>) {
    let sealed = line.rsplit_once(" #").and_then(|(text, seal)| {
        let (number, hash) = seal.split_once('-')?;
        // One way to write each number: what reads the same is the same.
        let canonical = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse().ok().filter(|_| canonical)?;
        is_hash(hash).then_some((text, Seal { number, hash }))
    });
    sealed.map_or((line, None), |(text, seal)| (text, Some(seal)))
}

/// A text with its number, which is what a hash is made of.
pub fn numbered(text: &str, number: u64) -> String {
    format!("{text} #{number}")
}

/// A line without its end, from what [`numbered`] gave and its hash.
pub fn sealed(numbered: &str, hash: &str) -> String {
    format!("{numbered}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_written_in_one_way_and_everything_else_is_text() {
        let line = sealed(&numbered("what: a #3-b", 17), "9f86d081884c7d65");
        assert_eq!(line, "what: a #3-b #17-9f86d081884c7d65");
        assert_eq!(split(&line), ("what: a #3-b", Some(Seal { number: 17, hash: "9f86d081884c7d65" })));
        for text in [
            "",
            "what",
            "what #17",
            "what #17-9f86d081884c7d6",
            "what #17-9f86d081884c7d650",
            "what #17-9F86D081884C7D65",
            "what #017-9f86d081884c7d65",
            "what #+17-9f86d081884c7d65",
            "what #0-9f86d081884c7d65",
            "what #-9f86d081884c7d65",
            "what #17-9f86d081884c7d65 ",
            "#17-9f86d081884c7d65",
        ] {
            assert_eq!(split(text), (text, None), "{text:?}");
        }
    }
}
