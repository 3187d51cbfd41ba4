//! The chart's values: each with its default and the comment that documents it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Its path, with dots.
    pub path: String,
    /// Its default, as JSON.
    pub default: Value,
    /// What it is for.
    pub text: String,
}

/// Reads `values.yaml`. A comment that begins with `# --` documents the next value; a value without one is an error.
pub fn documented(text: &str) -> Result<Vec<Documented>> {
    let all: Value = serde_yaml::from_str(text).context("values.yaml is no YAML")?;
    let mut found = Vec::new();
    // The keys above the present line, with their indentation.
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comment: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if let Some(begin) = words.strip_prefix("# --") {
            comment = Some(begin.trim().to_owned());
        } else if let Some(more) = words.strip_prefix('#') {
            let Some(comment) = &mut comment else {
                bail!(
                    "values.yaml, line {}: a comment that documents no value; begin it with `# --`",
                    number + 1
                )
            };
            comment.push(' ');
            comment.push_str(more.trim());
        } else if let Some((key, _)) = words.split_once(':') {
            above.retain(|(i, _)| *i < indent);
            above.push((indent, key));
            let path: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
            let pointer = format!("/{}", path.join("/"));
            let path = path.join(".");
            let Some(text) = comment.take() else {
                // What has values of its own below needs none itself; what is inside of one that has is its example.
                let inside = found.iter().any(|d: &Documented| path.starts_with(&format!("{}.", d.path)));
                let opens = words.trim_end().ends_with(':');
                if inside || opens {
                    continue;
                }
                bail!(
                    "values.yaml, line {}: {path} has no comment; write `# --` and what it is for",
                    number + 1
                )
            };
            let default =
                all.pointer(&pointer).with_context(|| format!("{path} is not read as it is written"))?;
            found.push(Documented { path, default: default.clone(), text });
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_told_with_its_path_its_default_and_its_whole_comment() {
        let found =
            documented("a:\n  # -- First.\n  # Second.\n  b: 1\n# -- Third.\nc:\n  d: { e: f }\n").unwrap();
        assert_eq!(
            found,
            [
                Documented { path: "a.b".to_owned(), default: json!(1), text: "First. Second.".to_owned() },
                Documented {
                    path: "c".to_owned(),
                    default: json!({ "d": { "e": "f" } }),
                    text: "Third.".to_owned()
                },
            ]
        );
    }

    #[test]
    fn a_value_that_nobody_explains_is_refused_with_its_line() {
        let why = documented("a:\n  b: 1\n").unwrap_err().to_string();
        assert!(why.contains("line 2") && why.contains("a.b"), "{why}");
    }
}
