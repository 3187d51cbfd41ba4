//! The operator's settings, checked before anything starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bascule_adapters::kube::route::Responder;
use bascule_adapters::kube::watch::Within;
use bascule_adapters::notify::{self, Channel};
use bascule_core::decide::Installation;
use bascule_core::name::{Namespace, ObjectName, SiteName};
use bascule_core::timing::Profile;

use crate::cli::OperatorArgs;

/// What the operator runs with.
pub struct Settings {
    /// The arguments, for what needs no check.
    pub args: OperatorArgs,
    /// This site.
    pub site: SiteName,
    /// In which namespaces policies, Moves and sources are seen.
    pub within: Within,
    /// The settings that every policy shares.
    pub installation: Installation,
    /// Certificates for the arbiter.
    pub arbiter_tls: Pem,
    /// Where notices to people lead.
    pub channels: Vec<Channel>,
    /// Who answers writes that gateways refuse, if anybody does.
    pub responder: Option<Responder>,
}

/// A trust anchor, a certificate and its key, as PEM.
pub struct Pem {
    /// Who signs the peers' certificates.
    pub ca: Vec<u8>,
    /// The own certificate.
    pub cert: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl Settings {
    /// Reads and checks everything; the first thing that is wrong is named with its way out.
    pub fn read(args: OperatorArgs) -> anyhow::Result<Self> {
        let site = SiteName::try_from(args.site.as_str()).context("--site")?;
        let within = within(&args.watch_namespaces)?;
        let profile: Profile = args.profile.parse().context("--profile")?;
        let election = parse_duration(&args.arbiter_election).with_context(|| {
            format!("--arbiter-election {:?}: expected a duration like 300ms or 1s", args.arbiter_election)
        })?;
        let timing = profile.timing();
        let violations = timing.violations(election);
        if !violations.is_empty() {
            let list: Vec<String> = violations.iter().map(|v| format!("  {v}")).collect();
            bail!(
                "the timing profile {profile} does not hold with this arbiter:\n{}\nUse a slower profile, or run the arbiter's members with a shorter --election-timeout and say so in --arbiter-election",
                list.join("\n")
            );
        }
        let arbiter_tls = Pem::read("--arbiter", &args.arbiter_ca, &args.arbiter_cert, &args.arbiter_key)?;
        let installation = Installation { profile, timing, generation: args.arbiter_generation };
        let channels = channels(args.notifications.as_deref(), args.notification_secrets.as_deref())?;
        let responder = args.responder_service.as_deref().map(|text| responder(&args.namespace, text));
        let responder = responder.transpose()?;
        Ok(Self { args, site, within, installation, arbiter_tls, channels, responder })
    }
}

/// In which namespaces something is seen, from their names.
fn within(names: &[String]) -> anyhow::Result<Within> {
    let named: Result<Vec<Namespace>, _> =
        names.iter().map(|name| Namespace::try_from(name.as_str())).collect();
    Ok(Within::new(named.context("--watch-namespaces")?))
}

/// The Service `NAME:PORT` in the operator's own namespace.
fn responder(namespace: &str, text: &str) -> anyhow::Result<Responder> {
    let wrong =
        || format!("--responder-service {text:?}: expected a Service of namespace {namespace} as NAME:PORT");
    let (name, port) = text.split_once(':').with_context(wrong)?;
    let service = ObjectName::try_from(name).with_context(wrong)?;
    let port: u16 = port.parse().with_context(wrong)?;
    anyhow::ensure!(port != 0, wrong());
    Ok(Responder { namespace: namespace.to_owned(), service: service.to_string(), port })
}

/// The channels in this file, none without one.
fn channels(file: Option<&Path>, secrets: Option<&Path>) -> anyhow::Result<Vec<Channel>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let shown = format!("--notifications {}", file.display());
    let text = fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let entries: notify::Entries = serde_yaml::from_str(&text).with_context(|| shown.clone())?;
    notify::check(&entries, secrets).map_err(|wrong| anyhow::anyhow!("{shown}:\n{wrong}"))
}

impl Pem {
    fn read(option: &str, ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |what: &str, path: &Path| {
            let path: PathBuf = path.to_owned();
            fs::read(&path).with_context(|| format!("{option}-{what} {} cannot be read", path.display()))
        };
        Ok(Self { ca: read("ca", ca)?, cert: read("cert", cert)?, key: read("key", key)? })
    }
}

/// A length of time such as `300ms` or `1s`.
pub fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let span: jiff::SignedDuration = text.parse().context("not a duration")?;
    Duration::try_from(span).context("a negative duration")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(changed: &[&str]) -> OperatorArgs {
        let fixed = [
            "bascule",
            "operator",
            "--arbiter-endpoints=https://127.0.0.1:2379",
            "--arbiter-ca=/nonexistent/ca.crt",
            "--arbiter-cert=/nonexistent/tls.crt",
            "--arbiter-key=/nonexistent/tls.key",
            "--guard-certificates=/nonexistent",
        ];
        let Command::Operator(args) = Cli::parse_from(fixed.iter().chain(changed)).command else {
            panic!("another command");
        };
        *args
    }

    fn refused(changed: &[&str]) -> String {
        Settings::read(args(changed)).map(drop).map_err(|e| format!("{e:#}")).unwrap_err()
    }

    #[test]
    fn a_profile_that_is_too_fast_for_the_arbiter_is_refused_with_the_inequality() {
        let why = refused(&["--site=paris", "--profile=metro", "--arbiter-election=1s"]);
        let inequality = Profile::Metro.timing().violations(Duration::from_secs(1))[0].to_string();
        assert!(inequality.contains('R') && inequality.contains("election"), "{inequality}");
        assert!(why.contains(&inequality), "{why}");
        assert!(why.contains("--election-timeout") && why.contains("slower profile"), "{why}");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_option() {
        assert!(refused(&["--site=Paris!"]).contains("--site"));
        assert!(refused(&["--site=paris", "--profile=galaxy"]).contains("--profile"));
        let why = refused(&["--site=paris", "--arbiter-election=soon"]);
        assert!(why.contains("--arbiter-election") && why.contains("300ms"), "{why}");
    }

    #[test]
    fn the_namespaces_that_are_watched_are_names_and_none_means_all() {
        let why = refused(&["--site=paris", "--watch-namespaces=shop,shop-*"]);
        assert!(why.contains("--watch-namespaces") && why.contains("\"shop-*\""), "{why}");
        let names = args(&["--site=paris", "--watch-namespaces=shop,blog,shop"]).watch_namespaces;
        let found = within(&names).unwrap();
        assert_eq!(found.names().map(Namespace::as_str).collect::<Vec<_>>(), ["blog", "shop"]);
        assert_eq!(within(&[]).unwrap(), Within::default());
        assert_eq!(Within::default().names().count(), 0);
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named_by_its_option_and_path() {
        let why = refused(&["--site=paris"]);
        assert!(why.contains("--arbiter-ca /nonexistent/ca.crt"), "{why}");
    }

    #[test]
    fn the_responders_service_is_one_of_the_operators_own_namespace_with_its_port() {
        let found = responder("bascule", "bascule-responder:80").unwrap();
        assert_eq!(found.to_string(), "Service bascule/bascule-responder:80");
        for wrong in [
            "",
            "responder",
            "responder:",
            "responder:0",
            "responder:65536",
            ":80",
            "Responder!:80",
            "a/b:80",
        ] {
            let why = responder("bascule", wrong).map(drop).map_err(|e| format!("{e:#}")).unwrap_err();
            assert!(why.contains("--responder-service") && why.contains("NAME:PORT"), "{wrong}: {why}");
        }
    }

    /// What is said of this file of channels, with a Secret that holds `password` and `hook`.
    fn said_of(file: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        for (key, value) in [
            ("password", "secret"),
            ("hook", "0123456789abcdef0123"),
            ("short", "abc"),
            ("url", "http://chat/"),
        ] {
            fs::write(folder.path().join(key), value).unwrap();
        }
        let path = folder.path().join("notifications.yaml");
        fs::write(&path, file).unwrap();
        channels(Some(&path), Some(folder.path())).map(|c| c.len()).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn channels_are_read_with_their_credentials() {
        let file = "channels:\n\
            - {name: mail, smtp: {host: mail.example.org, from: bascule@example.org, to: [ops@example.org], username: bascule, passwordKey: password}}\n\
            - {name: hook, namespaces: [shop], webhook: {url: 'https://hooks.example.org/a', secretKey: hook}}\n";
        assert_eq!(said_of(file), Ok(2));
        assert_eq!(channels(None, None).unwrap().len(), 0);
    }

    #[test]
    fn a_wrong_channel_is_refused_with_its_field() {
        let mail = |more: &str| {
            format!(
                "channels: [{{name: mail, smtp: {{host: mail.example.org, from: a@example.org, to: [b@example.org]{more}}}}}]"
            )
        };
        for (file, field) in [
            ("channels: [{name: Mail, webhook: {url: 'https://a/', secretKey: hook}}]".to_owned(), "channels[0].name"),
            ("channels: [{name: a}]".to_owned(), "channels[0]: expected exactly one of smtp, webhook, slack, matrix"),
            ("channels: [{name: a, webhook: {url: 'https://a/', secretKey: gone}}]".to_owned(), "channels[0].webhook.secretKey"),
            ("channels: [{name: a, webhook: {url: 'https://a/', secretKey: short}}]".to_owned(), "at least 16 bytes"),
            ("channels: [{name: a, webhook: {url: 'https://a/', secretKey: ../x}}]".to_owned(), "channels[0].webhook.secretKey: found '../x'"),
            ("channels: [{name: a, webhook: {url: 'ftp://a/', secretKey: hook}}]".to_owned(), "channels[0].webhook.url"),
            ("channels: [{name: a, webhook: {url: 'https://a/', secretKey: hook}}, {name: a, webhook: {url: 'https://a/', secretKey: hook}}]".to_owned(), "channels[1].name"),
            ("channels: [{name: a, slack: {urlKey: url}}]".to_owned(), "channels[0].slack.urlKey"),
            ("channels: [{name: a, teams: {urlKey: url}}]".to_owned(), "teams"),
            (mail(", port: 0"), "channels[0].smtp.port"),
            (mail(", username: u"), "channels[0].smtp: expected username and passwordKey together"),
            (mail(", security: none, username: u, passwordKey: password"), "channels[0].smtp.security"),
            (mail(", security: maybe"), "maybe"),
            (mail(", to: [nobody]").replacen(", to: [b@example.org]", "", 1), "channels[0].smtp.to[0]: found 'nobody'"),
        ] {
            let why = said_of(&file).unwrap_err();
            assert!(why.contains(field) && why.contains("--notifications"), "{file}: {why}");
        }
    }
}
