//! Files that are not a revision's, read with the same care: bounded, with the place of every field, and with
//! whatever YAML 1.1 and 1.2 read differently refused.

use serde_json::Value;

use super::read::{File, Limits, documents};
use super::{Findings, Problem, shape, yaml};

/// A file of one document that has the shape it shall have.
#[derive(Clone, Debug)]
pub struct Document {
    file: String,
    inner: yaml::Document,
}

impl Document {
    /// What it says.
    pub const fn value(&self) -> &Value {
        &self.inner.value
    }

    /// Something that is wrong with a field, at the field's place.
    pub fn problem(&self, field: &str, reason: impl Into<String>) -> Problem {
        let place = self.inner.place_of(field);
        Problem::new(&self.file, Some((place.line, place.column)), field, &reason.into())
    }
}

/// Reads a file of one document by the part of JSON Schema that Kubernetes' definitions use.
///
/// # Errors
/// Everything that is wrong with it.
pub fn one(file: &File<'_>, schema: &Value, limits: &Limits) -> Result<Document, Vec<Problem>> {
    let mut found = documents(file, limits)?;
    let (Some(inner), true) = (found.pop(), found.is_empty()) else {
        let count = if found.is_empty() { "nothing" } else { "more than one document" };
        let reason = format!("found {count}, expected one document");
        return Err(vec![Problem::new(file.path, None, "", &reason)]);
    };
    let document = Document { file: file.path.to_owned(), inner };
    let mut findings = Findings::default();
    shape::check("", document.value(), schema, &mut findings);
    if findings.0.is_empty() {
        return Ok(document);
    }
    Err(findings.0.into_iter().map(|f| document.problem(&f.field, f.reason)).collect())
}

/// The namespaces that the objects of a file name, each once, in order of appearance. A file that cannot be read names
/// none: reading it for real says why.
pub fn namespaces(file: &File<'_>, limits: &Limits) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for document in documents(file, limits).unwrap_or_default() {
        if let Some(name) = document.value["metadata"]["namespace"].as_str()
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, Vec<String>> {
        let schema = serde_json::json!({
            "type": "object",
            "required": ["name"],
            "properties": { "name": { "type": "string" }, "many": { "type": "integer", "minimum": 1 } }
        });
        let file = File { path: "a.yaml", bytes: text.as_bytes() };
        one(&file, &schema, &Limits::default()).map_err(|p| p.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_field() {
        assert_eq!(read("name: x\nmany: 3\n").unwrap().value()["many"], 3);
        let mut wrong = read("name: x\nmnay: 3\nmany: 0\n").unwrap_err();
        wrong.sort();
        assert_eq!(
            wrong,
            [
                "a.yaml:2:7: mnay: unknown field 'mnay', expected one of: many, name",
                "a.yaml:3:7: many: found 0, expected at least 1",
            ]
        );
        assert_eq!(read("").unwrap_err(), ["a.yaml: found nothing, expected one document"]);
        assert!(read("name: x\n---\nname: z\n").unwrap_err()[0].contains("more than one"));
        assert!(read("name: [").unwrap_err()[0].starts_with("a.yaml:"), "not YAML at all");
    }

    #[test]
    fn namespaces_are_named_once() {
        let text =
            "metadata: { namespace: b }\n---\nmetadata: { namespace: a }\n---\nmetadata: { namespace: b }\n";
        let file = File { path: "a.yaml", bytes: text.as_bytes() };
        assert_eq!(namespaces(&file, &Limits::default()), ["b", "a"]);
    }
}
