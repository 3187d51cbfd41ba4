//! The definitions that are installed in a cluster, made from the types of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::witness::{PolicyRecord, SiteFacts, SiteLease};
use crate::{FailoverPolicy, Move, PolicySource};

/// Words that YAML 1.1 and 1.2 read differently when they are not quoted. No field and no value of
/// this API is one of them, in whatever case.
pub const FORBIDDEN_WORDS: [&str; 11] =
    ["on", "off", "yes", "no", "y", "n", "true", "false", "null", "~", ""];

/// One generated definition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Name of the file in `crds/generated/`.
    pub file: String,
    /// The definition, as JSON.
    pub json: Value,
}

impl Definition {
    /// The text of the file.
    ///
    /// # Errors
    /// Never in practice: JSON can always be written as YAML.
    pub fn yaml(&self) -> Result<String, serde_yaml::Error> {
        let body = serde_yaml::to_string(&self.json)?;
        Ok(format!("# Generated from the types in crds/src by `make crds`; do not edit.\n{body}"))
    }

    /// The schema of the only version, as JSON.
    pub fn schema(&self) -> &Value {
        &self.json["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    }
}

/// The definitions of all kinds of this API.
///
/// # Errors
/// Never in practice: the definitions consist of types that JSON can hold.
pub fn definitions() -> Result<Vec<Definition>, serde_json::Error> {
    [FailoverPolicy::crd(), Move::crd(), PolicySource::crd()].iter().map(definition).collect()
}

/// The definitions of the kinds that the arbiter keeps at a witness.
///
/// # Errors
/// Never in practice: the definitions consist of types that JSON can hold.
pub fn witness_definitions() -> Result<Vec<Definition>, serde_json::Error> {
    [SiteLease::crd(), PolicyRecord::crd(), SiteFacts::crd()].iter().map(definition).collect()
}

fn definition(crd: &CustomResourceDefinition) -> Result<Definition, serde_json::Error> {
    let mut json = serde_json::to_value(crd)?;
    if let Some(versions) = json.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                tidy(schema);
            }
        }
    }
    Ok(Definition { file: format!("{}.{}.yaml", crd.spec.names.plural, crd.spec.group), json })
}

/// Makes what schemars wrote say what is meant in Kubernetes.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // An explicit null means "not given": the API server then drops it and applies the default,
    // which is what intake from git does as well.
    object.remove("nullable");
    object.remove("title");
    // Kubernetes knows int32 and int64 only, and warns about others.
    if let Some(format) = object.get("format").and_then(Value::as_str) {
        match format {
            "uint8" | "uint16" | "int8" | "int16" => object.insert("format".to_owned(), "int32".into()),
            "uint" | "uint32" | "uint64" => object.insert("format".to_owned(), "int64".into()),
            _ => None,
        };
    }
    for key in ["properties", "patternProperties"] {
        if let Some(properties) = object.get_mut(key).and_then(Value::as_object_mut) {
            properties.values_mut().for_each(tidy);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
}
