//! The operator's settings, checked before anything starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bascule_core::decide::Installation;
use bascule_core::name::SiteName;
use bascule_core::timing::Profile;

use crate::cli::OperatorArgs;

/// What the operator runs with.
pub struct Settings {
    /// The arguments, for what needs no check.
    pub args: OperatorArgs,
    /// This site.
    pub site: SiteName,
    /// The settings that every policy shares.
    pub installation: Installation,
    /// Certificates for the arbiter.
    pub arbiter_tls: Pem,
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
        Ok(Self { args, site, installation, arbiter_tls })
    }
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
    fn a_certificate_that_cannot_be_read_is_named_by_its_option_and_path() {
        let why = refused(&["--site=paris"]);
        assert!(why.contains("--arbiter-ca /nonexistent/ca.crt"), "{why}");
    }
}
