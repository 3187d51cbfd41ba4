//! Where channels lead: a setting of the site, checked as a whole before anything starts. Policies name channels only, so
//! that nobody who may write a policy can make the operator send to an address of his choice.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bascule_core::name::{ItemName, Namespace};
use lettre::message::Mailbox;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::chat::Chat;
use super::http::Endpoint;
use super::secret::Key;
use super::smtp::{Security, Smtp};
use super::webhook::Webhook;

/// How many channels a site may have.
const CHANNELS: usize = 64;

/// How many addresses a channel may send to.
const RECIPIENTS: usize = 100;

/// The settings as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entries {
    /// One for each channel.
    pub channels: Vec<Entry>,
}

/// One channel as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    name: String,
    #[serde(default)]
    namespaces: Vec<String>,
    smtp: Option<SmtpEntry>,
    webhook: Option<WebhookEntry>,
    slack: Option<ChatEntry>,
    matrix: Option<ChatEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SmtpEntry {
    host: String,
    #[serde(default = "submission")]
    port: u16,
    #[serde(default)]
    security: Security,
    from: String,
    to: Vec<String>,
    username: Option<String>,
    password_key: Option<String>,
    ca_key: Option<String>,
}

const fn submission() -> u16 {
    587
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookEntry {
    url: String,
    secret_key: String,
    ca_key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChatEntry {
    url_key: String,
    ca_key: Option<String>,
}

/// One channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The name by which policies choose it.
    pub name: ItemName,
    /// The namespaces whose policies may; empty: all.
    pub namespaces: BTreeSet<Namespace>,
    /// Where it leads.
    pub way: Way,
}

/// How a channel delivers.
#[derive(Clone, Debug)]
pub enum Way {
    /// Mail.
    Smtp(Smtp),
    /// Signed JSON.
    Webhook(Webhook),
    /// A chat's incoming webhook.
    Chat(Chat),
}

/// Everything that is wrong with the settings, by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(Vec<(String, String)>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|(field, why)| format!("  {field}: {why}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Wrong {}

/// The channels of these settings, with the credentials in the folder `secrets`, or everything that is wrong with them.
pub fn check(entries: &Entries, secrets: Option<&Path>) -> Result<Vec<Channel>, Wrong> {
    let mut checked = Checked { secrets, wrong: Vec::new() };
    let mut channels: Vec<Channel> = Vec::new();
    if entries.channels.len() > CHANNELS {
        checked.say(
            "channels",
            format!("found {} of them, expected at most {CHANNELS}", entries.channels.len()),
        );
    }
    for (i, entry) in entries.channels.iter().enumerate() {
        let at = format!("channels[{i}]");
        let Some(channel) = checked.channel(&at, entry) else { continue };
        if channels.iter().any(|c| c.name == channel.name) {
            let why =
                format!("{} stands earlier in the list: expected each name once; rename one", channel.name);
            checked.say(&format!("{at}.name"), why);
        }
        channels.push(channel);
    }
    if checked.wrong.is_empty() { Ok(channels) } else { Err(Wrong(checked.wrong)) }
}

struct Checked<'a> {
    secrets: Option<&'a Path>,
    wrong: Vec<(String, String)>,
}

impl Checked<'_> {
    fn say(&mut self, field: &str, why: impl Into<String>) {
        self.wrong.push((field.to_owned(), why.into()));
    }

    fn take<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|why| self.say(field, why.to_string())).ok()
    }

    fn channel(&mut self, at: &str, entry: &Entry) -> Option<Channel> {
        let Entry { name, namespaces, smtp, webhook, slack, matrix } = entry;
        let name = self.take(&format!("{at}.name"), ItemName::try_from(name.as_str()));
        let mut allowed = BTreeSet::new();
        for (i, namespace) in namespaces.iter().enumerate() {
            let field = format!("{at}.namespaces[{i}]");
            allowed.extend(self.take(&field, Namespace::try_from(namespace.as_str())));
        }
        let way = match (smtp, webhook, slack, matrix) {
            (Some(smtp), None, None, None) => self.smtp(&format!("{at}.smtp"), smtp).map(Way::Smtp),
            (None, Some(hook), None, None) => self.webhook(&format!("{at}.webhook"), hook).map(Way::Webhook),
            (None, None, Some(chat), None) => self.chat(&format!("{at}.slack"), chat, true).map(Way::Chat),
            (None, None, None, Some(chat)) => self.chat(&format!("{at}.matrix"), chat, false).map(Way::Chat),
            _ => {
                self.say(at, "expected exactly one of smtp, webhook, slack, matrix beside the name");
                None
            }
        };
        Some(Channel { name: name?, namespaces: allowed, way: way? })
    }

    /// A key of the Secret, which must be there and hold something.
    fn key(&mut self, field: &str, key: &str) -> Option<Key> {
        if let Err(refusal) = bascule_crds::text::data_key::check(key) {
            self.say(field, refusal.to_string());
            return None;
        }
        let Some(folder) = self.secrets else {
            self.say(field, format!("found '{key}' and no Secret to find it in: name one (notifications.secretName of the chart, --notification-secrets)"));
            return None;
        };
        let found = Key::new(folder, key);
        self.take(field, found.read())?;
        Some(found)
    }

    /// A key that may be left out; one that is wrong is noted, and so nothing is made of the whole.
    fn optional(&mut self, field: &str, key: Option<&String>) -> Option<Key> {
        self.key(field, key?)
    }

    fn smtp(&mut self, at: &str, entry: &SmtpEntry) -> Option<Smtp> {
        let SmtpEntry { host, port, security, from, to, username, password_key, ca_key } = entry;
        self.take(&format!("{at}.host"), bascule_crds::text::host::check(host));
        if *port == 0 {
            self.say(&format!("{at}.port"), "found 0, expected a port such as 587, 465 or 25");
        }
        let address = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|e| format!("found '{text}', expected a mail address such as ops@example.org: {e}"))
        };
        let from = self.take(&format!("{at}.from"), address(from));
        if !(1..=RECIPIENTS).contains(&to.len()) {
            self.say(
                &format!("{at}.to"),
                format!("found {} addresses, expected 1 to {RECIPIENTS}", to.len()),
            );
        }
        let mut recipients = Vec::new();
        for (i, text) in to.iter().enumerate() {
            recipients.extend(self.take(&format!("{at}.to[{i}]"), address(text)));
        }
        let login = match (username, password_key) {
            (None, None) => Some(None),
            (Some(name), Some(key)) => {
                self.key(&format!("{at}.passwordKey"), key).map(|key| Some((name.clone(), key)))
            }
            _ => {
                self.say(at, "expected username and passwordKey together, or neither");
                None
            }
        };
        if *security == Security::None && (username.is_some() || ca_key.is_some()) {
            self.say(&format!("{at}.security"), "found none together with username or caKey: a password is never sent in the clear; use starttls or tls");
        }
        let ca = self.optional(&format!("{at}.caKey"), ca_key.as_ref());
        Some(Smtp {
            host: host.clone(),
            port: *port,
            security: *security,
            from: from?,
            to: recipients,
            login: login?,
            ca,
        })
    }

    fn webhook(&mut self, at: &str, entry: &WebhookEntry) -> Option<Webhook> {
        let WebhookEntry { url, secret_key, ca_key } = entry;
        let endpoint = self.take(&format!("{at}.url"), Endpoint::parse(url, true));
        let secret = self.key(&format!("{at}.secretKey"), secret_key);
        if let Some(Ok(found)) = secret.as_ref().map(Key::read)
            && found.expose_secret().len() < 16
        {
            self.say(
                &format!("{at}.secretKey"),
                "expected a secret of at least 16 bytes to sign with (openssl rand -hex 32)",
            );
        }
        let ca = self.optional(&format!("{at}.caKey"), ca_key.as_ref());
        Some(Webhook { endpoint: endpoint?, secret: secret?, ca })
    }

    fn chat(&mut self, at: &str, entry: &ChatEntry, slack: bool) -> Option<Chat> {
        let ChatEntry { url_key, ca_key } = entry;
        let field = format!("{at}.urlKey");
        let url = self.key(&field, url_key)?;
        let found = self.take(&field, url.read())?;
        // The address is a secret itself, and is not shown.
        if Endpoint::parse(found.expose_secret(), false).is_err() {
            self.say(&field, format!("the Secret's key {url_key} holds no address: expected https://host/path, as the chat shows it"));
            return None;
        }
        let ca = self.optional(&format!("{at}.caKey"), ca_key.as_ref());
        Some(Chat { url, ca, slack })
    }
}
