//! Names in Kubernetes and in policies.

use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

/// Names of sites and of entries: a DNS label.
pub mod label {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a name of at most 63 lower-case letters, digits and hyphens that begins and ends with a letter or digit";

    /// Whether a text is a DNS label.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=63).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 63, "x-kubernetes-validations": [rule] })
    }
}

/// Names of objects in Kubernetes: a DNS subdomain.
pub mod object_name {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "the name of an object: at most 253 lower-case letters, digits, hyphens and dots";

    /// Whether a text can be the name of an object.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let label = |l: &str| {
            !l.is_empty()
                && l.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        let valid = text.len() <= 253 && text.split('.').all(label);
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')".to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [rule] })
    }
}

/// Keys of ConfigMaps and Secrets.
pub mod data_key {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a key of at most 253 letters, digits, '-', '_' and '.'";

    /// Whether a text can be a key of a ConfigMap or Secret.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = (1..=253).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with("..")
            && text != ".";
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')".to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [rule] })
    }
}
