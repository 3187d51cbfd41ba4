//! The generated definitions are up to date and keep to the conventions.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use bascule_crds::{FORBIDDEN_WORDS, definitions, witness_definitions};
use serde_json::Value;

/// Calls `visit` with the path and the schema of everything in a schema.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            walk(&format!("{path}.{name}"), inner, visit);
        }
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
}

fn each(mut visit: impl FnMut(&str, &Value)) {
    for definition in definitions().unwrap().into_iter().chain(witness_definitions().unwrap()) {
        let kind = definition.json["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        walk(&kind, definition.schema(), &mut visit);
    }
}

#[test]
fn the_generated_files_are_up_to_date() {
    let check = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("--check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn every_field_has_a_line_in_the_page_of_its_kind_and_every_object_a_section() {
    for definition in definitions().unwrap() {
        let page = definition.page();
        let mut fields = 0;
        walk("", definition.schema(), &mut |path, schema| {
            let path = path.trim_start_matches('.');
            let (object, name) = path.rsplit_once('.').unwrap_or(("", path));
            if object.is_empty() || name.ends_with("[]") {
                return;
            }
            let section = page
                .split(&format!("\n## {object}\n"))
                .nth(1)
                .unwrap_or_else(|| panic!("no section {object}"));
            let section = section.split("\n## ").next().unwrap();
            assert!(section.contains(&format!("\n| `{name}`")), "{object} has no line for {name}");
            if schema["properties"].is_object() {
                assert!(page.contains(&format!("\n## {path}\n")), "no section {path}");
            }
            fields += 1;
        });
        assert!(fields > 10, "{}: {fields}", definition.file);
    }
}

#[test]
fn no_field_and_no_value_is_a_word_that_yaml_1_1_and_1_2_read_differently() {
    each(|path, schema| {
        let name = path.rsplit('.').next().unwrap().trim_end_matches("[]").to_lowercase();
        assert!(!FORBIDDEN_WORDS.contains(&name.as_str()), "{path}");
        for value in schema["enum"].as_array().into_iter().flatten() {
            // Of the statuses of conditions, which Kubernetes itself defines, nobody writes one by hand.
            if path.contains(".status.conditions[]") {
                continue;
            }
            let value = value.as_str().unwrap().to_lowercase();
            assert!(!FORBIDDEN_WORDS.contains(&value.as_str()), "{path}: {value}");
        }
    });
}

#[test]
fn every_text_and_list_of_a_spec_is_bounded_and_every_list_of_objects_is_keyed() {
    each(|path, schema| {
        if !path.contains(".spec.") {
            return;
        }
        match schema["type"].as_str() {
            Some("string") => {
                let bounded = schema["maxLength"].is_u64()
                    || schema["enum"].is_array()
                    || schema["format"] == "date-time";
                assert!(bounded, "{path} has no maxLength");
            }
            Some("array") => {
                assert!(schema["maxItems"].is_u64(), "{path} has no maxItems");
                let reserved = schema["items"]["x-kubernetes-preserve-unknown-fields"] == true;
                let keyed = matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set"));
                assert!(keyed || reserved, "{path} is neither a map nor a set");
            }
            _ => {}
        }
    });
}

#[test]
fn no_reference_of_a_spec_can_name_another_namespace() {
    let mut references = 0;
    each(|path, schema| {
        if !path.contains(".spec.") {
            return;
        }
        let name = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(!name.to_lowercase().contains("namespace"), "{path} would reach into another namespace");
        if name.ends_with("Ref") {
            references += 1;
            let members = schema["properties"].as_object().unwrap();
            let known = ["apiVersion", "kind", "name"];
            assert!(members.keys().all(|key| known.contains(&key.as_str())), "{path}: {members:?}");
        }
    });
    assert!(references >= 6, "references are read wrongly: {references}");
}

#[test]
fn every_field_is_explained() {
    each(|path, schema| {
        let root = !path.contains('.') || path.ends_with(".metadata") || path.ends_with("[]");
        let explained = schema["description"].as_str().is_some_and(|text| text.len() > 3);
        assert!(root || explained, "{path} has no description");
    });
}

#[test]
fn every_rule_has_a_message_of_its_own() {
    each(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().or(rule["messageExpression"].as_str());
            assert!(message.is_some_and(|text| !text.is_empty()), "{path}: {rule}");
        }
    });
}

#[test]
fn columns_read_conditions_by_type_and_age_is_last() {
    for definition in definitions().unwrap() {
        let columns =
            definition.json["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().clone();
        assert_eq!(columns.last().unwrap()["name"], "Age");
        for column in columns {
            let path = column["jsonPath"].as_str().unwrap();
            assert!(!path.contains("conditions") || path.contains("[?(@.type=="), "{path}");
        }
        assert_eq!(definition.json["spec"]["names"]["categories"][0], "bascule");
    }
}
