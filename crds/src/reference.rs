use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::text;

/// Names another object in the policy's own namespace. There is no namespace field: a policy can
/// never reach into a namespace that is not its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reference {
    /// Name of the object, in the same namespace.
    #[schemars(schema_with = "text::object_name::schema")]
    pub name: String,
}

/// The body of a part of the API that this version does not act on yet. Whatever it holds, the
/// object that carries it is refused with a message that names the part: it is never ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Reserved {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Reserved".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}
