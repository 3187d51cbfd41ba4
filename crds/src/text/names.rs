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

/// Names of environment variables.
pub mod variable {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str =
        "the name of a variable: at most 253 letters, digits, '-', '_' and '.', not beginning with a digit";

    /// Whether a text can be the name of an environment variable of a container.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = (1..=253).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && !text.starts_with("..")
            && text != ".";
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            "self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$') && self != '.' && !self.startsWith('..')"
                .to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [rule] })
    }
}

/// Keys of annotations.
pub mod annotation_key {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, object_name, refusal, refusing};

    const EXPECTED: &str = "the key of an annotation: at most 63 letters, digits, '-', '_' and '.', after a DNS name and a slash if need be";

    /// Whether a text can be the key of an annotation.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let (prefix, name) = text.split_once('/').map_or((None, text), |(of, name)| (Some(of), name));
        let outer = |c: char| c.is_ascii_alphanumeric();
        let inner = |c: char| outer(c) || matches!(c, '-' | '_' | '.');
        let valid = (1..=63).contains(&name.len())
            && name.chars().all(inner)
            && name.starts_with(outer)
            && name.ends_with(outer)
            && prefix.is_none_or(|prefix| object_name::check(prefix).is_ok());
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            r"self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self.indexOf('/') <= 253"
                .to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 317, "x-kubernetes-validations": [rule] })
    }
}

/// Languages: a short language tag.
pub mod language {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a language such as fr, en or pt-br, in lower case";

    /// Whether a text is a language tag, in lower case.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let mut parts = text.split('-');
        let first = parts.next().unwrap_or_default();
        let letters = (2..=3).contains(&first.len()) && first.chars().all(|c| c.is_ascii_lowercase());
        let part = |p: &str| {
            (2..=8).contains(&p.len()) && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let valid = text.len() <= 35 && letters && parts.all(part);
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing("self.matches('^[a-z]{2,3}(-[a-z0-9]{2,8})*$')".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 35, "x-kubernetes-validations": [rule] })
    }
}

/// Words that people are told.
pub mod said {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal};
    use kube::core::Rule;

    /// The longest text, in characters.
    const TEXT: usize = 4000;
    /// The longest line, in characters.
    const LINE: usize = 200;
    const EXPECTED: &str = "a text of at most 4000 characters that is not blank";
    const EXPECTED_LINE: &str = "one line of at most 200 characters that is not blank";

    /// Whether a text says something.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let valid = !text.trim().is_empty() && text.chars().count() <= TEXT;
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    /// Whether a text is one line that says something.
    pub fn check_line(text: &str) -> Result<(), Refusal> {
        let valid = !text.trim().is_empty()
            && text.chars().count() <= LINE
            && !text.chars().any(|c| c == '\n' || c == '\r');
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED_LINE)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = Rule::new("self.matches('[^\\\\s]')")
            .message(format!("found nothing, expected {EXPECTED}").as_str());
        json_schema!({ "type": "string", "minLength": 1, "maxLength": TEXT, "x-kubernetes-validations": [rule] })
    }

    pub(crate) fn line_schema(_: &mut SchemaGenerator) -> Schema {
        let rule = Rule::new("self.matches('[^\\\\s]') && !self.contains('\\n') && !self.contains('\\r')")
            .message(format!("expected {EXPECTED_LINE}").as_str());
        json_schema!({ "type": "string", "minLength": 1, "maxLength": LINE, "x-kubernetes-validations": [rule] })
    }
}
