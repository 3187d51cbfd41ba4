//! From the files of one revision to its objects: all of them, or a list of everything that is wrong.

use std::{collections::BTreeMap, sync::LazyLock};

use bascule_core::legible::excerpt;
use bascule_core::name::Namespace;
use bascule_crds::{API_VERSION, FailoverPolicy, Move, PolicySource, definitions, text};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Findings, Invalid, Problem, moves, policy, shape, source,
    yaml::{self, Document, field},
};

/// What a revision may hold at most. Everything above is refused, for a file is outside input.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Documents in one file.
    pub documents_per_file: usize,
    /// Values, keys and lists in one file, those that aliases repeat included.
    pub nodes_per_file: usize,
    /// Anchors, and as many aliases, in one file.
    pub anchors_per_file: usize,
    /// Depth of nesting.
    pub depth: usize,
    /// Objects in the revision.
    pub objects: usize,
    /// Problems that are reported; the rest is counted.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 256 * 1024,
            documents_per_file: 200,
            nodes_per_file: 50_000,
            anchors_per_file: 100,
            depth: 32,
            objects: 2_000,
            problems: 50,
        }
    }
}

/// One file of a revision.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its path in the repository, for people.
    pub path: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// An object and the file that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The object as it goes to the API server, with its namespace filled in.
    pub object: T,
    /// Path of the file in the repository.
    pub file: String,
    /// Line where its document begins, from 1.
    pub line: u32,
}

/// The objects of one revision, all of them valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revision {
    /// Its policies, by name.
    pub policies: BTreeMap<String, Sourced<FailoverPolicy>>,
    /// Its Moves, by name.
    pub moves: BTreeMap<String, Sourced<Move>>,
}

/// Reads a revision whole, or says everything that is wrong with it.
///
/// Every object lands in `namespace`, that of the `PolicySource`; a file that names another one is
/// refused. A revision without any object is valid here: whether emptiness is believed is for the
/// caller to judge.
///
/// # Errors
/// Everything that is wrong in all files, in the order of files and lines, at most `limits.problems`
/// and one more line that counts the rest.
pub fn revision(
    files: &[File<'_>],
    namespace: &Namespace,
    limits: &Limits,
) -> Result<Revision, Vec<Problem>> {
    let mut reader =
        Reader { namespace, limits, revision: Revision::default(), objects: 0, problems: Vec::new() };
    for file in files {
        reader.file(file);
    }
    let Reader { revision, objects, mut problems, .. } = reader;
    if objects > limits.objects {
        let reason = format!(
            "found {objects} objects in this revision, expected at most {}: split it over several sources",
            limits.objects
        );
        problems.push(Problem { file: ".".to_owned(), line: None, column: None, field: None, reason });
    }
    if problems.is_empty() {
        return Ok(revision);
    }
    if problems.len() > limits.problems {
        let more = problems.len() - limits.problems;
        problems.truncate(limits.problems);
        let reason = format!("and {more} more problems; mend these first");
        problems.push(Problem { file: ".".to_owned(), line: None, column: None, field: None, reason });
    }
    Err(problems)
}

/// The sources of some files, or everything that is wrong with them.
pub type Sources = Result<Vec<Sourced<PolicySource>>, Vec<Problem>>;

/// Takes the files that hold nothing but `PolicySources` from the others, and reads them. A revision with one is refused, so
/// these are read for people, before they are applied by hand.
///
/// Returns the other files, and the sources or everything that is wrong with them.
pub fn sources<'a>(files: &[File<'a>], namespace: &Namespace, limits: &Limits) -> (Vec<File<'a>>, Sources) {
    let mut kept: BTreeMap<String, Sourced<PolicySource>> = BTreeMap::new();
    let (mut others, mut problems) = (Vec::new(), Vec::new());
    let is_source = |d: &Document| d.value["apiVersion"] == API_VERSION && d.value["kind"] == SOURCE;
    for file in files {
        // A file that cannot be read is one of the others: whoever reads them says why.
        let found = documents(file, limits).unwrap_or_default();
        if found.is_empty() || !found.iter().all(is_source) {
            others.push(*file);
            continue;
        }
        for mut document in found {
            let mut findings = Findings::default();
            check_object(SOURCE, namespace, &document.value, &mut findings);
            if findings.0.is_empty()
                && let Some(metadata) = document.value["metadata"].as_object_mut()
            {
                metadata.insert("namespace".to_owned(), namespace.as_str().into());
                let judge = |object: &PolicySource| source::convert(object).map(drop);
                keep(&mut kept, file.path, &document, &mut findings, judge);
            }
            problems.extend(findings.0.into_iter().map(|finding| {
                let place = document.place_of(&finding.field);
                Problem::new(file.path, Some((place.line, place.column)), &finding.field, &finding.reason)
            }));
        }
    }
    (others, if problems.is_empty() { Ok(kept.into_values().collect()) } else { Err(problems) })
}

struct Reader<'a> {
    namespace: &'a Namespace,
    limits: &'a Limits,
    revision: Revision,
    objects: usize,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, file: &File<'_>) {
        match documents(file, self.limits) {
            Ok(documents) => {
                self.objects += documents.len();
                for document in documents {
                    self.document(file.path, document);
                }
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn document(&mut self, file: &str, mut document: Document) {
        let mut findings = Findings::default();
        let kind = kind_of(&document.value, &mut findings);
        if let Some(kind) = kind {
            check_object(kind, self.namespace, &document.value, &mut findings);
        }
        if findings.0.is_empty()
            && let Some(metadata) = document.value["metadata"].as_object_mut()
        {
            metadata.insert("namespace".to_owned(), self.namespace.as_str().into());
            let Revision { policies, moves } = &mut self.revision;
            if kind == Some("Move") {
                keep(moves, file, &document, &mut findings, |object| moves::convert(object).map(drop));
            } else {
                keep(policies, file, &document, &mut findings, |object| {
                    policy::convert(object, None).map(drop)
                });
            }
        }
        self.problems.extend(findings.0.into_iter().map(|finding| {
            let place = document.place_of(&finding.field);
            Problem::new(file, Some((place.line, place.column)), &finding.field, &finding.reason)
        }));
    }
}

/// The documents of a file, if it can be read at all.
pub(super) fn documents(file: &File<'_>, limits: &Limits) -> Result<Vec<Document>, Vec<Problem>> {
    let whole = |reason: String| Problem::new(file.path, None, "", &reason);
    if file.bytes.len() > limits.file_bytes {
        let reason = format!(
            "found {} bytes, expected at most {}: split the file",
            file.bytes.len(),
            limits.file_bytes
        );
        return Err(vec![whole(reason)]);
    }
    let text = std::str::from_utf8(file.bytes).map_err(|error| {
        let line = String::from_utf8_lossy(&file.bytes[..error.valid_up_to()]).matches('\n').count() + 1;
        let mut problem = whole("found bytes that are not UTF-8: save the file as UTF-8".to_owned());
        problem.line = u32::try_from(line).ok();
        vec![problem]
    })?;
    yaml::documents(text, limits).map_err(|objections| {
        let problem = |objection: yaml::Objection| {
            let place = objection.place.map(|place| (place.line, place.column));
            Problem::new(file.path, place, &objection.field, &objection.reason)
        };
        objections.into_iter().map(problem).collect()
    })
}

/// Makes the typed object, judges it as a whole and keeps it, unless something is wrong.
fn keep<T: DeserializeOwned>(
    kept: &mut BTreeMap<String, Sourced<T>>,
    file: &str,
    document: &Document,
    findings: &mut Findings,
    judge: impl FnOnce(&T) -> Result<(), Invalid>,
) {
    let name = document.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(earlier) = kept.get(&name) {
        let reason = format!(
            "'{name}' is already the name of the object in {} at line {}; one of the two must go",
            earlier.file, earlier.line
        );
        findings.add("metadata.name", reason);
        return;
    }
    let Some(object) = findings.check("", serde_json::from_value::<T>(document.value.clone())) else {
        return;
    };
    if let Err(invalid) = judge(&object) {
        findings.0.extend(invalid.findings);
        return;
    }
    let line = document.place_of("").line;
    kept.insert(name, Sourced { object, file: file.to_owned(), line });
}

/// The kinds that a repository may hold.
const FROM_GIT: [&str; 2] = ["FailoverPolicy", "Move"];

/// The kind that says where a repository is, and is never in its own folder.
const SOURCE: &str = "PolicySource";

/// The schemas of all kinds, by kind.
static SCHEMAS: LazyLock<BTreeMap<&'static str, Value>> = LazyLock::new(|| {
    let mut schemas = BTreeMap::new();
    for definition in definitions().unwrap_or_default() {
        for kind in FROM_GIT.into_iter().chain([SOURCE]) {
            if definition.json["spec"]["names"]["kind"] == kind {
                schemas.insert(kind, object_schema(&definition.schema()["properties"]["spec"]));
            }
        }
    }
    schemas
});

/// The schema of a whole object in a file: no status, and of the metadata what a person writes.
fn object_schema(spec: &Value) -> Value {
    let texts =
        json!({ "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string" } });
    json!({
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string" },
                    "namespace": { "type": "string" },
                    "labels": texts,
                    "annotations": texts,
                }
            },
            "spec": spec,
        }
    })
}

/// Which kind a document is, if it is one that a repository may hold.
fn kind_of(object: &Value, findings: &mut Findings) -> Option<&'static str> {
    if !object.is_object() {
        findings.add("", "found no fields, expected an object with apiVersion, kind, metadata and spec");
        return None;
    }
    let found = |key: &str| object[key].as_str().unwrap_or("nothing").to_owned();
    let kind = FROM_GIT.into_iter().find(|kind| object["kind"] == *kind);
    if object["apiVersion"] != API_VERSION {
        let reason = format!("found {}, expected {API_VERSION}", found("apiVersion"));
        findings.add("apiVersion", reason);
        return None;
    }
    if kind.is_none() {
        let reason = format!(
            "found {}, expected FailoverPolicy or Move; a repository of policies holds nothing else: keep other objects outside of spec.path of the PolicySource",
            found("kind")
        );
        findings.add("kind", reason);
    }
    kind
}

fn check_object(kind: &'static str, namespace: &Namespace, object: &Value, findings: &mut Findings) {
    let mut checked = object.clone();
    if let Some(fields) = checked.as_object_mut()
        && fields.remove("status").is_some()
    {
        findings.add("status", "is written by Bascule, never by a person: remove it");
    }
    shape::check("", &checked, &SCHEMAS[kind], findings);
    let metadata = &object["metadata"];
    if let Some(name) = metadata["name"].as_str() {
        findings.check("metadata.name", text::object_name::check(name));
    }
    if let Some(found) = metadata["namespace"].as_str()
        && found != namespace.as_str()
    {
        let found = excerpt(found);
        let reason = format!(
            "found {found}, expected {namespace}, the namespace of the PolicySource: remove the field, or put a PolicySource into {found}"
        );
        findings.add("metadata.namespace", reason);
    }
    for (map, values) in [("labels", true), ("annotations", false)] {
        for (key, value) in metadata[map].as_object().into_iter().flatten() {
            let at = field(&format!("metadata.{map}"), key);
            if !is_qualified_name(key) {
                findings.add(&at, format!("found '{key}', expected a name such as tier or example.org/tier"));
            }
            if values && value.as_str().is_some_and(|text| !text.is_empty() && !is_name_part(text)) {
                let reason = "expected at most 63 letters, digits, '-', '_' and '.' that begin and end with a letter or digit";
                findings.add(at, format!("found {value}, {reason}"));
            }
        }
    }
}

/// The second half of a label's key, and a label's value.
fn is_name_part(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => text::object_name::check(prefix).is_ok() && is_name_part(name),
        None => is_name_part(key),
    }
}
