//! What a guard is started with.

use std::path::{Path, PathBuf};

use bascule_core::name::{ItemName, NameError, ObjectName, PolicyKey, SiteName};
use clap::Args as ClapArgs;

/// The options of `bascule guard postgres [options] -- postgres ...`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Namespace of the policy that names this database.
    #[arg(long, env = "BASCULE_NAMESPACE")]
    pub namespace: String,
    /// Name of the policy.
    #[arg(long, env = "BASCULE_POLICY")]
    pub policy: String,
    /// Name of the database in the policy.
    #[arg(long, env = "BASCULE_DATABASE")]
    pub database: String,
    /// Name of this site.
    #[arg(long, env = "BASCULE_SITE")]
    pub site: String,
    /// Name of this pod.
    #[arg(long, env = "BASCULE_INSTANCE")]
    pub instance: String,
    /// Where the site's operator listens for guards, as host:port.
    #[arg(long, env = "BASCULE_OPERATOR")]
    pub operator: String,
    /// The name in the operator's certificate; the operator's host when left out.
    #[arg(long, env = "BASCULE_OPERATOR_NAME")]
    pub operator_name: Option<String>,
    /// Directory with ca.crt, tls.crt and tls.key for the operator.
    #[arg(long, env = "BASCULE_CERTIFICATES", default_value = "/etc/bascule/guard")]
    pub certificates: PathBuf,
    /// Members of the arbiter, asked only while no operator answers; none: the guard never asks.
    #[arg(long, env = "BASCULE_ARBITER", value_delimiter = ',')]
    pub arbiter: Vec<String>,
    /// Directory with ca.crt, tls.crt and tls.key for the arbiter.
    #[arg(long, env = "BASCULE_ARBITER_CERTIFICATES")]
    pub arbiter_certificates: Option<PathBuf>,
    /// Where the arbiter is the API server of a witness: a kubeconfig with its address, the token of this site's guards, and
    /// the namespace of the chart bascule-witness. In the place of --arbiter.
    #[arg(long, env = "BASCULE_ARBITER_KUBECONFIG")]
    pub arbiter_kubeconfig: Option<PathBuf>,
    /// UID of this cluster's kube-system namespace, which owns the site's name at the arbiter.
    #[arg(long, env = "BASCULE_CLUSTER_UID", default_value = "")]
    pub cluster_uid: String,
    /// The data directory.
    #[arg(long, env = "PGDATA")]
    pub data: PathBuf,
    /// Where the guard keeps its marks, on the volume of the data; `<data>/../bascule` when left out.
    #[arg(long, env = "BASCULE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The directory of PostgreSQL's programs; looked up on PATH when left out.
    #[arg(long, env = "BASCULE_POSTGRES_BIN")]
    pub bin: Option<PathBuf>,
    /// The database superuser that the guard uses over its own local socket.
    #[arg(long, env = "BASCULE_SUPERUSER", default_value = "postgres")]
    pub superuser: String,
    /// pg_hba.conf lines for replication, in force whether clients may connect or not.
    #[arg(
        long = "replication-hba",
        env = "BASCULE_REPLICATION_HBA",
        value_delimiter = ';',
        default_value = "host replication all all scram-sha-256"
    )]
    pub replication_hba: Vec<String>,
    /// The server's own command.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// What a guard is started with, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The policy that names the database.
    pub policy: PolicyKey,
    /// The database in it.
    pub database: ItemName,
    /// This site.
    pub site: SiteName,
    /// This pod.
    pub instance: ObjectName,
    /// `host:port` of the operator.
    pub operator: String,
    /// The name in the operator's certificate.
    pub operator_name: String,
    /// `ca.crt`, `tls.crt`, `tls.key` for the operator.
    pub certificates: PathBuf,
    /// Members of the arbiter; empty: no fallback.
    pub arbiter: Vec<String>,
    /// `ca.crt`, `tls.crt`, `tls.key` for the arbiter.
    pub arbiter_certificates: Option<PathBuf>,
    /// The kubeconfig of a witness that is the arbiter.
    pub arbiter_kubeconfig: Option<PathBuf>,
    /// The cluster that owns the site's name.
    pub cluster_uid: String,
    /// The data directory.
    pub data: PathBuf,
    /// Where the guard keeps its marks.
    pub state_dir: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub bin: PathBuf,
    /// The database superuser.
    pub superuser: String,
    /// `pg_hba.conf` lines for replication.
    pub replication_hba: Vec<String>,
    /// The server's command.
    pub command: Vec<String>,
}

/// A guard cannot be started like this.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A name is not one.
    #[error("--{option}")]
    Name {
        /// The option.
        option: &'static str,
        /// Why.
        source: NameError,
    },
    /// The data directory has no directory above it.
    #[error(
        "--data {0} has no directory above it: use a directory inside the volume, like /var/lib/postgresql/data/pgdata"
    )]
    Data(PathBuf),
    /// PostgreSQL's programs were not found.
    #[error(
        "pg_rewind was not found on PATH or in --bin: the guard runs in the database's own container, with all of PostgreSQL's programs"
    )]
    Programs,
    /// Two arbiters are named.
    #[error(
        "found --arbiter {members} and --arbiter-kubeconfig {kubeconfig}: an installation has one arbiter, the same in all sites; leave one of the two out"
    )]
    TwoArbiters {
        /// The members.
        members: String,
        /// The witness.
        kubeconfig: PathBuf,
    },
    /// A replication line would let in more than replication.
    #[error("--replication-hba {0:?}: expected lines whose second word is `replication`")]
    ReplicationLine(String),
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(a: Args) -> Result<Self, ConfigError> {
        let name = |option| move |source| ConfigError::Name { option, source };
        if a.data.parent().is_none_or(|p| p.as_os_str().is_empty()) {
            return Err(ConfigError::Data(a.data));
        }
        for line in &a.replication_hba {
            let second = line.split_whitespace().nth(1);
            if second != Some("replication") || line.contains('\n') {
                return Err(ConfigError::ReplicationLine(line.clone()));
            }
        }
        if let (false, Some(kubeconfig)) = (a.arbiter.is_empty(), &a.arbiter_kubeconfig) {
            let (members, kubeconfig) = (a.arbiter.join(","), kubeconfig.clone());
            return Err(ConfigError::TwoArbiters { members, kubeconfig });
        }
        let beside = a.data.parent().map(|p| p.join("bascule"));
        let host = a.operator.rsplit_once(':').map_or(a.operator.as_str(), |(host, _)| host);
        Ok(Self {
            policy: PolicyKey::new(a.namespace, a.policy).map_err(name("policy"))?,
            database: a.database.try_into().map_err(name("database"))?,
            site: a.site.try_into().map_err(name("site"))?,
            instance: a.instance.try_into().map_err(name("instance"))?,
            operator_name: a.operator_name.unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned()),
            operator: a.operator,
            certificates: a.certificates,
            arbiter: a.arbiter,
            arbiter_certificates: a.arbiter_certificates,
            arbiter_kubeconfig: a.arbiter_kubeconfig,
            cluster_uid: a.cluster_uid,
            state_dir: a.state_dir.or(beside).ok_or_else(|| ConfigError::Data(a.data.clone()))?,
            data: a.data,
            bin: find_programs(a.bin)?,
            superuser: a.superuser,
            replication_hba: a.replication_hba,
            command: a.command,
        })
    }
}

fn find_programs(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let has = |dir: &Path| dir.join("pg_rewind").exists();
    if let Some(dir) = given {
        return if has(&dir) { Ok(dir) } else { Err(ConfigError::Programs) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find(|dir| has(dir)).ok_or(ConfigError::Programs)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn members_and_a_witness_together_are_refused() {
        let given = [
            "guard",
            "--namespace=shop",
            "--policy=shop",
            "--database=main",
            "--site=paris",
            "--instance=main-0",
            "--operator=operator:7443",
            "--data=/data/pgdata",
            "--arbiter=https://a:2379,https://b:2379",
            "--arbiter-kubeconfig=/etc/bascule/witness/kubeconfig",
            "--",
            "postgres",
        ];
        let why = Config::try_from(Cli::parse_from(given).args).unwrap_err().to_string();
        for part in
            ["https://a:2379,https://b:2379", "/etc/bascule/witness/kubeconfig", "leave one of the two out"]
        {
            assert!(why.contains(part), "{why}");
        }
    }
}
