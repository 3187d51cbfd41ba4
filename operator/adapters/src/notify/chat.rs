//! A notice as a message of a chat: what the incoming webhooks of Slack, Mattermost and Rocket.Chat take, and those of a
//! Matrix room (matrix-hookshot).

use bascule_core::notice::Notice;
use secrecy::ExposeSecret;
use serde_json::json;

use super::Undelivered;
use super::http::Endpoint;
use super::secret::Key;

/// A chat's incoming webhook. Its address is the only secret, and is kept like one.
#[derive(Clone, Debug)]
pub struct Chat {
    pub(super) url: Key,
    pub(super) ca: Option<Key>,
    /// Whether it reads `<…>` as orders, such as to call everybody.
    pub(super) slack: bool,
}

impl Chat {
    /// Posts one notice.
    pub(super) async fn carry(&self, notice: &Notice) -> Result<(), Undelivered> {
        let url = self.url.read().map_err(Undelivered::Passing)?;
        let endpoint = Endpoint::parse(url.expose_secret(), false).map_err(|_| {
            Undelivered::Passing(
                "the Secret's key of this chat holds no address any more: expected https://host/path"
                    .to_owned(),
            )
        })?;
        let text = self.text(notice);
        endpoint.post(json!({ "text": text }).to_string(), Vec::new(), self.ca.as_ref()).await
    }

    fn text(&self, notice: &Notice) -> String {
        let text = format!("{}\n\n{}", notice.subject, notice.text);
        if !self.slack {
            return text;
        }
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}
