use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::text::{self, label, language, said};

/// Who is told when the application is read-only, has moved, is back, waits for a person, is
/// unprotected, or will be moved at a known time. One site tells it: the active one, or the one that
/// serves in its place.
///
/// Channels are named, not described: where a channel leads, and which namespaces may use it, is a
/// setting of each site's operator (`notifications.channels` of its chart). A channel that a site
/// does not have is said in that site's journal and metrics, and stands in nobody's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.channels) && size(self.channels) > 0) || (has(self.users) && size(self.users) > 0)")
        .message("notifications: nobody would be told: expected at least one entry in channels or users"),
)]
pub struct Notifications {
    /// Channels of the administrators, who are told everything, with the state, what is at risk and
    /// the commands that come next. At most eight. Example: `[ops-mail, ops-chat]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "channels")]
    pub channels: Vec<String>,

    /// The users of the application, by language, who are told what concerns them in your words. At
    /// most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["language".into()]))]
    #[schemars(length(max = 16))]
    pub users: Vec<UserNotices>,
}

/// What the users of one language are told. A text that is left out is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.readOnly) || has(self.moved) || has(self.back) || has(self.planned)")
        .message("notifications.users[]: nothing would be told: expected at least one of readOnly, moved, back, planned"),
)]
pub struct UserNotices {
    /// The language, unique in the list. Example: `fr` or `pt-br`.
    #[schemars(schema_with = "language::schema")]
    pub language: String,

    /// Channels that reach these users. One to eight. Example: `[customers-fr]`.
    #[schemars(schema_with = "channels")]
    pub channels: Vec<String>,

    /// The subject of mails, and the first line elsewhere. Example: `Boutique`.
    #[schemars(schema_with = "said::line_schema")]
    pub subject: String,

    /// Told when the active site is lost and another one serves reads. Example: `La boutique est en
    /// lecture seule.`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "said::schema")]
    pub read_only: Option<String>,

    /// Told when another site writes from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "said::schema")]
    pub moved: Option<String>,

    /// Told when the site that was lost is back, and everything is as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "said::schema")]
    pub back: Option<String>,

    /// Told as soon as there is a Move of type Switchover whose `notBefore` lies ahead. Write the time
    /// into it, or say where it is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "said::schema")]
    pub planned: Option<String>,
}

fn channels(generator: &mut SchemaGenerator) -> Schema {
    text::set_schema(&label::schema(generator), 8)
}
