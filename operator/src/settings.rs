//! The operator's settings, checked before anything starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bascule_adapters::arbiter::{Settings as Members, Tls, WitnessSettings};
use bascule_adapters::kube::route::Responder;
use bascule_adapters::kube::watch::Within;
use bascule_adapters::notify::{self, Channel};
use bascule_core::decide::{Installation, Places};
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
    /// Where the arbiter is.
    pub arbiter: ArbiterAt,
    /// Where notices to people lead.
    pub channels: Vec<Channel>,
    /// Who answers writes that gateways refuse, if anybody does.
    pub responder: Option<Responder>,
}

/// Where the arbiter is.
pub enum ArbiterAt {
    /// Members of etcd, in several places.
    Members(Members),
    /// The API server of a witness.
    Witness(WitnessSettings),
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
        let arbiter = ArbiterAt::read(&args, timing.tq())?;
        let places = match (&arbiter, args.arbiter_accept_single_point) {
            (ArbiterAt::Members(_), false) => Places::Several,
            (ArbiterAt::Witness(_), false) => Places::One,
            (ArbiterAt::Witness(_), true) => Places::OneAccepted,
            (ArbiterAt::Members(_), true) => bail!(
                "--arbiter-accept-single-point is set and the arbiter has members (--arbiter-endpoints): it is about a witness (--arbiter-kubeconfig); leave it out"
            ),
        };
        let installation = Installation { profile, timing, generation: args.arbiter_generation, places };
        let channels = channels(args.notifications.as_deref(), args.notification_secrets.as_deref())?;
        let responder = args.responder_service.as_deref().map(|text| responder(&args.namespace, text));
        let responder = responder.transpose()?;
        Ok(Self { args, site, within, installation, arbiter, channels, responder })
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

impl ArbiterAt {
    fn read(args: &OperatorArgs, tq: Duration) -> anyhow::Result<Self> {
        match (&args.arbiter_endpoints[..], &args.arbiter_kubeconfig) {
            ([], None) => bail!(
                "found neither --arbiter-endpoints nor --arbiter-kubeconfig: name the members of the arbiter, with --arbiter-ca, --arbiter-cert and --arbiter-key, or the kubeconfig of a witness"
            ),
            ([], Some(kubeconfig)) => Self::witness(args, kubeconfig),
            (endpoints, None) => Self::members(args, endpoints, tq),
            (endpoints, Some(kubeconfig)) => bail!(
                "found --arbiter-endpoints {} and --arbiter-kubeconfig {}: an installation has one arbiter, the same in all sites; leave one of the two out",
                endpoints.join(","),
                kubeconfig.display()
            ),
        }
    }

    fn members(args: &OperatorArgs, endpoints: &[String], connect_timeout: Duration) -> anyhow::Result<Self> {
        let read = |option: &str, path: &Option<PathBuf>| {
            let path = path.as_ref().with_context(|| {
                format!("{option} is missing: with --arbiter-endpoints, name the PEM file for it")
            })?;
            fs::read(path).with_context(|| format!("{option} {} cannot be read", path.display()))
        };
        let tls = Tls {
            ca: read("--arbiter-ca", &args.arbiter_ca)?,
            cert: read("--arbiter-cert", &args.arbiter_cert)?,
            key: read("--arbiter-key", &args.arbiter_key)?.into(),
        };
        Ok(Self::Members(Members { endpoints: endpoints.to_vec(), tls, connect_timeout }))
    }

    fn witness(args: &OperatorArgs, kubeconfig: &Path) -> anyhow::Result<Self> {
        for (option, given) in [
            ("--arbiter-ca", &args.arbiter_ca),
            ("--arbiter-cert", &args.arbiter_cert),
            ("--arbiter-key", &args.arbiter_key),
        ] {
            if let Some(path) = given {
                bail!(
                    "{option} {} is set with --arbiter-kubeconfig: a kubeconfig has the witness's certificate authority and this site's token in it; leave {option} out",
                    path.display()
                );
            }
        }
        Ok(Self::Witness(WitnessSettings { kubeconfig: kubeconfig.to_owned() }))
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

    const MEMBERS: [&str; 4] = [
        "--arbiter-endpoints=https://127.0.0.1:2379",
        "--arbiter-ca=/nonexistent/ca.crt",
        "--arbiter-cert=/nonexistent/tls.crt",
        "--arbiter-key=/nonexistent/tls.key",
    ];
    const WITNESS: &str = "--arbiter-kubeconfig=/nonexistent/kubeconfig";

    fn args(changed: &[&str]) -> OperatorArgs {
        let fixed = ["bascule", "operator", "--guard-certificates=/nonexistent"];
        let Command::Operator(args) = Cli::parse_from(fixed.iter().chain(changed)).command else {
            panic!("another command");
        };
        *args
    }

    fn said(changed: &[&str]) -> String {
        Settings::read(args(changed)).map(drop).map_err(|e| format!("{e:#}")).unwrap_err()
    }

    fn refused(changed: &[&str]) -> String {
        said(&[&MEMBERS[..], changed].concat())
    }

    #[test]
    fn an_operator_has_one_arbiter_and_is_told_which_options_go_together() {
        let why = said(&["--site=paris"]);
        assert!(why.contains("neither --arbiter-endpoints nor --arbiter-kubeconfig"), "{why}");
        let why = refused(&["--site=paris", WITNESS]);
        assert!(why.contains("https://127.0.0.1:2379") && why.contains("leave one of the two out"), "{why}");
        let why = said(&["--site=paris", WITNESS, "--arbiter-ca=ca.crt"]);
        assert!(why.contains("--arbiter-ca ca.crt is set with --arbiter-kubeconfig"), "{why}");
        let why = said(&["--site=paris", MEMBERS[0]]);
        assert!(why.contains("--arbiter-ca is missing"), "{why}");
    }

    #[test]
    fn a_witness_is_a_single_point_that_is_accepted_only_when_that_is_said() {
        let places = |changed: &[&str]| {
            let fixed = ["--site=paris", WITNESS];
            Settings::read(args(&[&fixed[..], changed].concat())).unwrap().installation.places
        };
        assert_eq!(places(&[]), Places::One);
        assert_eq!(places(&["--arbiter-accept-single-point"]), Places::OneAccepted);
    }

    #[test]
    fn what_is_about_a_witness_is_refused_with_members() {
        let files = tempfile::tempdir().unwrap();
        let file = |option: &str| {
            let path = files.path().join("pem");
            fs::write(&path, "").unwrap();
            format!("{option}={}", path.display())
        };
        let [ca, cert, key] = ["--arbiter-ca", "--arbiter-cert", "--arbiter-key"].map(file);
        let members = ["--site=paris", MEMBERS[0], &ca, &cert, &key];
        assert_eq!(Settings::read(args(&members)).unwrap().installation.places, Places::Several);
        let why = said(&[&members[..], &["--arbiter-accept-single-point"]].concat());
        assert!(why.contains("--arbiter-accept-single-point is set"), "{why}");
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
