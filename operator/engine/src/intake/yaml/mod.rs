//! The text of a file as JSON values, with the place of every field.
//!
//! Kubernetes reads YAML by the rules of 1.1 where it can, other tools by 1.2. Whatever the two read
//! differently is refused here with "quote it", so that a file means the same to everybody.

mod ambiguous;

use std::{collections::BTreeMap, fmt};

use bascule_core::legible::excerpt;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned};

use self::ambiguous::ambiguous;
use super::read::Limits;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// Something that the text says in a way that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) place: Option<Place>,
    pub(super) field: String,
    pub(super) reason: String,
}

/// One document of a file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Where the document begins.
    pub(super) place: Place,
    /// Where each field's value stands, by its path such as `spec.sites[1].name`.
    places: BTreeMap<String, Place>,
}

impl Document {
    /// Where a field stands, or the nearest field around it that is there.
    pub(super) fn place_of(&self, field: &str) -> Place {
        let mut path = field;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.place,
            }
        }
    }
}

/// The longest path of a field, in bytes. The path of every value is kept: without a bound, a long key above a long list
/// takes as much memory as both lengths multiplied.
const PATH_LIMIT: usize = 1024;

/// The path of `key` inside the object at `path`.
pub(super) fn field(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Reads all documents of a file; empty ones are left out.
pub(super) fn documents(text: &str, limits: &Limits) -> Result<Vec<Document>, Vec<Objection>> {
    refuse_hidden_line_breaks(text)?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: limits.documents_per_file,
            max_nodes: limits.nodes_per_file,
            max_events: limits.nodes_per_file.saturating_mul(4),
            max_depth: limits.depth,
            max_anchors: limits.anchors_per_file,
            max_aliases: limits.anchors_per_file,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits.nodes_per_file,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: limits.anchors_per_file,
        },
        // Seen and reported below, all of them at once and in our words.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let roots =
        serde_saphyr::from_multiple_with_options::<Spanned<Node>>(text, options).map_err(|error| {
            let message = error.to_string();
            // The place has fields of its own.
            let message = message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            let reason =
                format!("cannot be read as YAML: {message}: correct the file there, or write it simpler");
            vec![Objection { place: error.location().map(Place::from), field: String::new(), reason }]
        })?;
    let mut walk = Walk { text, objections: Vec::new(), places: BTreeMap::new() };
    let mut documents = Vec::new();
    for root in roots {
        if matches!(root.value, Node::Null) {
            continue;
        }
        let value = walk.value("", &root);
        documents.push(Document {
            value,
            place: root.referenced.into(),
            places: std::mem::take(&mut walk.places),
        });
    }
    if walk.objections.is_empty() { Ok(documents) } else { Err(walk.objections) }
}

/// Characters that end a line in YAML 1.1 and do not in 1.2: what is a comment to one reader is content
/// to the other.
fn refuse_hidden_line_breaks(text: &str) -> Result<(), Vec<Objection>> {
    let mut objections = Vec::new();
    for (line, content) in (1..).zip(text.split('\n')) {
        for (column, found) in (1..).zip(content.chars()) {
            if matches!(found, '\u{85}' | '\u{2028}' | '\u{2029}') {
                let code = u32::from(found);
                let reason = format!(
                    "found the character U+{code:04X}, which ends a line to some readers of YAML: write it as \"\\u{code:04x}\" in double quotes, or remove it"
                );
                objections.push(Objection {
                    place: Some(Place { line, column }),
                    field: String::new(),
                    reason,
                });
            }
        }
    }
    if objections.is_empty() { Ok(()) } else { Err(objections) }
}

/// What the parser makes of a node, before we look at how it was written.
#[derive(Debug)]
enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    OtherNumber,
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<Node>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(i64::try_from(value).map_or(Node::OtherNumber, Node::Integer))
            }

            fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
                Ok(Node::OtherNumber)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(Node::OtherNumber)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::OtherNumber)
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = access.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(key) = access.next_key()? {
                    map.push((key, access.next_value()?));
                }
                Ok(Node::Map(map))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Turns nodes into JSON and notes places and objections.
struct Walk<'t> {
    text: &'t str,
    objections: Vec<Objection>,
    places: BTreeMap<String, Place>,
}

impl Walk<'_> {
    fn object_to(&mut self, node: &Spanned<Node>, path: &str, reason: String) {
        self.objections.push(Objection {
            place: Some(node.referenced.into()),
            field: path.to_owned(),
            reason,
        });
    }

    /// The characters of a scalar as they stand in the file: the defined place, not that of an alias.
    fn written(&self, node: &Spanned<Node>) -> &str {
        let span = node.defined.span();
        let index = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
        let (Some(start), Some(length)) = (index(span.byte_offset()), index(span.byte_len())) else {
            return "";
        };
        self.text.get(start..start.saturating_add(length)).unwrap_or("")
    }

    fn value(&mut self, path: &str, node: &Spanned<Node>) -> Value {
        self.places.insert(path.to_owned(), node.referenced.into());
        match &node.value {
            Node::List(list) => {
                list.iter().enumerate().map(|(i, item)| self.value(&format!("{path}[{i}]"), item)).collect()
            }
            Node::Map(map) => self.map(path, map),
            Node::Null => {
                let last = path.rsplit('.').next().unwrap_or(path);
                self.object_to(node, path, format!("found nothing; give '{last}' a value, or remove it"));
                Value::Null
            }
            Node::Bool(value) => {
                let expected = if *value { "true" } else { "false" };
                self.plainly(node, path, expected);
                Value::Bool(*value)
            }
            Node::Integer(value) => {
                self.plainly(node, path, &value.to_string());
                Value::from(*value)
            }
            Node::OtherNumber => {
                let found = self.written(node).to_owned();
                self.object_to(
                    node,
                    path,
                    format!(
                        "found the number {found}, which no field takes: quote it if it is meant as text"
                    ),
                );
                Value::Null
            }
            Node::Text(value) => {
                let written = self.written(node);
                if !written.starts_with(['"', '\'']) && ambiguous(value) {
                    let value = excerpt(value);
                    let reason = format!(
                        "found {value}, which YAML 1.1 and 1.2 read differently: quote it (\"{value}\")"
                    );
                    self.object_to(node, path, reason);
                }
                Value::String(value.clone())
            }
        }
    }

    /// Objects to a truth value or number that is not written in the one way that all readers share.
    fn plainly(&mut self, node: &Spanned<Node>, path: &str, expected: &str) {
        let found = self.written(node).to_owned();
        if found != expected {
            let (found, expected) = (excerpt(&found), excerpt(expected));
            let reason = format!(
                "found {found}, which YAML 1.1 and 1.2 may read differently: write {expected}, or quote it (\"{found}\") if it is meant as text"
            );
            self.object_to(node, path, reason);
        }
    }

    fn map(&mut self, path: &str, map: &[(Spanned<Node>, Spanned<Node>)]) -> Value {
        let mut object = Map::new();
        for (key, node) in map {
            let written = self.written(key).to_owned();
            let Node::Text(name) = &key.value else {
                let written = excerpt(&written);
                self.object_to(key, path, format!("found the key {written}, which is not text to all readers of YAML: quote it (\"{written}\")"));
                continue;
            };
            let at = field(path, name);
            if at.len() > PATH_LIMIT {
                let length = at.len();
                self.object_to(key, path, format!("found a key whose path has {length} bytes, expected at most {PATH_LIMIT}: use shorter keys"));
                continue;
            }
            if !written.starts_with(['"', '\'']) && ambiguous(name) {
                self.object_to(
                    key,
                    &at,
                    format!(
                        "found the key {name}, which YAML 1.1 and 1.2 read differently: quote it (\"{name}\")"
                    ),
                );
            }
            if object.contains_key(name) {
                self.object_to(
                    key,
                    &at,
                    "found this key twice in one object: remove one of the two".to_owned(),
                );
                continue;
            }
            let value = self.value(&at, node);
            object.insert(name.clone(), value);
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests;
