//! Why a kubeconfig cannot be used, in words that give nothing of it away: it holds tokens, passwords and keys.

use kube::config::KubeconfigError;

use super::failure::chain;

/// What is wrong with a kubeconfig, with line and column where they are known.
///
/// Guarantees: nothing that the file says is in it. The parser's own words quote the lines around the fault.
pub fn reason(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(error) = error else { return chain(error) };
    let words = error.without_snippet().to_string();
    // The place has words of its own, and what follows is about the text around it.
    let words = words.lines().next().unwrap_or_default();
    let words = words.split_once(" at line ").map_or(words, |(words, _)| words);
    // The name of a field that is not there is the definition's, not the file's.
    let words = if words.starts_with("missing field") { words.to_owned() } else { without_quotes(words) };
    match error.location() {
        Some(at) => {
            format!("line {}, column {}: it cannot be read as YAML: {words}", at.line(), at.column())
        }
        None => format!("it cannot be read as YAML: {words}"),
    }
}

/// Words with what they quote left out.
fn without_quotes(words: &str) -> String {
    let mut kept = String::new();
    let mut rest = words;
    while let Some(begin) = opening(rest) {
        let (before, quoted) = rest.split_at(begin);
        let quote = quoted.chars().next().unwrap_or('"');
        let inside = quoted.get(1..).unwrap_or_default();
        kept.push_str(before);
        kept.push('…');
        // What does not end is hidden to the end; the last sign ends it, so that one in the text does not.
        rest = inside.rfind(quote).and_then(|end| inside.get(end + 1..)).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

/// Where the next quotation begins; an apostrophe inside a word is none.
fn opening(words: &str) -> Option<usize> {
    let mut before = ' ';
    words.char_indices().find_map(|(at, sign)| {
        let opens = matches!(sign, '"' | '`') || (sign == '\'' && !before.is_alphanumeric());
        before = sign;
        opens.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::*;

    /// What is wrong, the text, and how the reason begins.
    const FAULTS: &[(&str, &str, &str)] = &[
        ("an open bracket", "users:\n- name: a\n  user: {token: s3cret, password: s3cret\n", "line "),
        ("a tab", "users:\n- name: a\n  user:\n\ttoken: s3cret\n", "line 4"),
        ("an open quote", "users:\n- name: a\n  user:\n    token: \"s3cret\n", "line "),
        ("a colon in a value", "users:\n- name: a\n  user:\n    token: s3cret: s3cret\n", "line 4, column"),
        ("a text for a list", "users: s3cret\n", "line 1, column 8"),
        ("a quote in a text", "users: 's3cret\"`s3cret'\n", "line 1, column 8"),
        ("a list for a text", "users:\n- name: a\n  user:\n    token: [s3cret]\n", "line "),
        ("an alias", "users:\n- name: a\n  user:\n    token: *s3cret\n", "line 4, column"),
        ("an unknown mode", "users:\n- name: a\n  user:\n    exec: {interactiveMode: s3cret}\n", "line "),
        ("an escape", "users:\n- name: a\n  user:\n    token: \"\\s3cret\"\n", "line 4, column"),
    ];

    #[test]
    fn a_kubeconfig_with_a_fault_is_named_by_its_place_and_nothing_of_it_is_told() {
        for (what, text, begins) in FAULTS {
            let Err(error) = Kubeconfig::from_yaml(text) else { panic!("{what} is no fault") };
            let reason = reason(&error);
            assert!(!reason.contains("s3cret"), "{what}: {reason}");
            assert!(reason.starts_with(begins), "{what}: {reason}");
            assert_eq!(reason.lines().count(), 1, "{what}: {reason}");
        }
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let reason =
            reason(&Kubeconfig::from_yaml("contexts:\n- name: a\n  context: {user: b}\n").unwrap_err());
        assert!(reason.contains("cluster"), "{reason}");
    }
}
