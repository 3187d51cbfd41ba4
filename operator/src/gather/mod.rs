//! `bascule gather`: one archive for a report of a defect. Secrets are in it as fingerprints only.
//!
//! | file | question |
//! |---|---|
//! | `fingerprint` | how are two values compared without being known? |
//! | `cleaned` | what of an object may leave the cluster? |

mod cleaned;
mod fingerprint;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bascule_core::name::Namespace;
use bascule_crds::{FailoverPolicy, Move, PolicySource};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::NamespaceResourceScope;
use serde_json::Value;

use self::cleaned::cleaned;
use self::fingerprint::Fingerprints;
use crate::flags::Access;
use crate::logbook::files;
use crate::status::glance;
use crate::telling::print;
use crate::why::ask::Cluster;
use crate::why::explain::explain;
use crate::why::trouble::{Asked, Trouble};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
The archive has, for each namespace that has a policy: policies, Moves, sources, workloads, pods and Events as the API \
server has them, what `bascule why` and `bascule status` say, and with --journal the journals. What could not be read \
is named in README.txt, and keeps the rest from nothing.

Values of Secrets and ConfigMaps, of the environment, of command lines, of annotations that are not Bascule's and of \
credentials in addresses are replaced by fingerprints: the same value has the same fingerprint within one archive, and \
in no other. Look into it all the same before you send it: names are in it.

Exit codes: 0 everything is in it, 2 something could not be read, 1 there is no archive.

Examples:
  bascule gather
  bascule gather -n shop --context lyon --journal /var/lib/bascule/journal --out lyon.tar";

/// The exit code when something could not be read.
const INCOMPLETE: u8 = 2;
/// The largest number of objects of one kind in one namespace.
const MOST: u32 = 500;

/// What is asked.
#[derive(Debug, Args)]
pub struct GatherArgs {
    /// The namespace; left out: every one that has a policy.
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Every namespace that has a policy, as without -n.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Which cluster is asked.
    #[command(flatten)]
    pub access: Access,

    /// A journal to put in: a directory with .log files, or such a file; several times for several.
    #[arg(long, value_name = "PATH")]
    pub journal: Vec<PathBuf>,

    /// The archive, which must not exist; left out: bascule-TIME.tar here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The archive while it is made.
struct Archive {
    tar: tar::Builder<File>,
    at: Timestamp,
    names: Vec<String>,
    unread: Vec<String>,
}

impl Archive {
    /// A new file that only its owner reads.
    fn begin(path: &Path, at: Timestamp) -> anyhow::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;

        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file
            .with_context(|| format!("--out {}: expected a file that does not exist yet", path.display()))?;
        Ok(Self { tar: tar::Builder::new(file), at, names: Vec::new(), unread: Vec::new() })
    }

    fn put(&mut self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.at.as_second()).unwrap_or_default());
        header.set_cksum();
        let path = format!("bascule/{name}");
        self.tar
            .append_data(&mut header, &path, content)
            .with_context(|| format!("{path} in the archive"))?;
        self.names.push(name.to_owned());
        Ok(())
    }

    fn put_json(&mut self, name: &str, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value).with_context(|| name.to_owned())?;
        self.put(name, text.as_bytes())
    }

    fn end(mut self, of: &str) -> anyhow::Result<usize> {
        let mut text = format!(
            "Gathered by bascule {} at {} from {of}.\nValues of secrets are fingerprints, written as sha256:…; the same value has the same one in this archive only.\n\nIn it:\n",
            env!("CARGO_PKG_VERSION"),
            self.at
        );
        text.extend(self.names.iter().map(|n| format!("  {n}\n")));
        if !self.unread.is_empty() {
            text.push_str("\nCould not be read:\n");
            text.extend(self.unread.iter().map(|n| format!("  {n}\n")));
        }
        self.put("README.txt", text.as_bytes())?;
        let mut file = self.tar.into_inner().context("the end of the archive")?;
        file.flush().and_then(|()| file.sync_all()).context("the archive")?;
        Ok(self.unread.len())
    }
}

/// Gathers.
pub async fn run(args: GatherArgs) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.as_deref().map(Namespace::try_from).transpose().context("--namespace")?;
    let now = Timestamp::now();
    let pages = if args.journal.is_empty() { Vec::new() } else { files::pages(&args.journal)? };
    let cluster = args.access.connect().await?;
    // Whoever does not answer this answers nothing: then there is no archive.
    let seen = cluster.all(namespace.as_ref().map(Namespace::as_str)).await?;
    let path =
        args.out.unwrap_or_else(|| PathBuf::from(format!("bascule-{}.tar", now.strftime("%Y%m%dT%H%M%SZ"))));
    let mut archive = Archive::begin(&path, now)?;
    let prints = Fingerprints::new()?;
    let mut namespaces: Vec<&str> = seen.iter().map(|s| s.namespace.as_str()).collect();
    namespaces.extend(namespace.as_ref().map(Namespace::as_str));
    namespaces.sort_unstable();
    namespaces.dedup();
    for s in &seen {
        let base = format!("{}/{}", s.namespace, s.name);
        archive.put_json(&format!("{base}/why.json"), &explain(s, now))?;
        archive.put_json(&format!("{base}/status.json"), &glance::of(s, now))?;
    }
    for namespace in namespaces {
        of_namespace(&cluster, namespace, &prints, &mut archive).await?;
    }
    for (n, page) in pages.iter().enumerate() {
        let name = page.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        archive.put(&format!("journal/{n}-{name}"), page.text.as_bytes())?;
    }
    let files = archive.names.len();
    let unread = archive.end(&cluster.place().to_string())?;
    print(&format!(
        "{}: {files} files{}. Secrets are in it as fingerprints only; names are in it: look into it before you send it.\n",
        path.display(),
        if unread > 0 {
            format!(", and {unread} could not be read (README.txt names them)")
        } else {
            String::new()
        }
    ))?;
    Ok(if unread > 0 { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}

async fn of_namespace(
    cluster: &Cluster,
    namespace: &str,
    prints: &Fingerprints,
    archive: &mut Archive,
) -> anyhow::Result<()> {
    kind::<FailoverPolicy>(cluster, namespace, prints, archive).await?;
    kind::<Move>(cluster, namespace, prints, archive).await?;
    kind::<PolicySource>(cluster, namespace, prints, archive).await?;
    kind::<Deployment>(cluster, namespace, prints, archive).await?;
    kind::<StatefulSet>(cluster, namespace, prints, archive).await?;
    kind::<Pod>(cluster, namespace, prints, archive).await?;
    kind::<Event>(cluster, namespace, prints, archive).await?;
    kind::<ConfigMap>(cluster, namespace, prints, archive).await?;
    kind::<Secret>(cluster, namespace, prints, archive).await
}

/// The objects of one kind, cleaned.
async fn kind<K>(
    cluster: &Cluster,
    namespace: &str,
    prints: &Fingerprints,
    archive: &mut Archive,
) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let plural = K::plural(&()).into_owned();
    match list::<K>(cluster, namespace, &plural).await {
        Ok(objects) => {
            let all: Vec<Value> = objects.iter().map(|o| cleaned(o, prints)).collect();
            archive.put_json(&format!("{namespace}/{plural}.json"), &all)
        }
        Err(why) => {
            archive.unread.push(format!("{namespace}/{plural}: {why}"));
            Ok(())
        }
    }
}

async fn list<K>(cluster: &Cluster, namespace: &str, plural: &str) -> Result<Vec<DynamicObject>, Trouble>
where
    K: kube::Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<DynamicObject>::namespaced_with(cluster.kube().client(), namespace, &resource);
    let what = format!("{plural} in namespace {namespace}");
    let asked = Asked { place: cluster.place().clone(), verb: "list", what };
    let params = ListParams::default().limit(MOST);
    let deadline = cluster.kube().deadline();
    match tokio::time::timeout(deadline, api.list(&params)).await {
        Ok(Ok(list)) => Ok(list.items),
        Ok(Err(error)) => Err(asked.failed(&error)),
        Err(_) => Err(asked.silence(deadline)),
    }
}
