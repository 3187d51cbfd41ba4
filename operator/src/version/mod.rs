//! `bascule version`: what this program is, and whether a cluster has the same kinds.

use std::process::ExitCode;

use anyhow::Context as _;
use bascule_crds::{API_VERSION, definitions};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde::Serialize;
use serde_json::Value;

use crate::flags::Access;
use crate::telling::{Output, print};
use crate::why::ask::Cluster;
use crate::why::trouble::Asked;

/// What is asked.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Ask a cluster, too: its version, and whether its definitions are those of this program.
    #[arg(long)]
    pub check: bool,

    /// Which cluster is asked.
    #[command(flatten)]
    pub access: Access,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// Of this program.
    version: &'static str,
    /// What it reads and writes.
    api: &'static str,
    /// For what it was built.
    target: String,
    /// What a cluster says; `null`: none was asked.
    cluster: Option<Seen>,
}

/// What a cluster says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    /// Which.
    cluster: String,
    /// The API server's version.
    kubernetes: String,
    /// Each definition and whether it is that of this program: `same`, `differs` or `missing`.
    definitions: Vec<(String, &'static str)>,
}

/// The exit code when a definition is missing or another one.
const DIFFERS: u8 = 2;

/// Tells it.
pub async fn run(args: VersionArgs) -> anyhow::Result<ExitCode> {
    let ask = args.check || args.access.context.is_some() || args.access.kubeconfig.is_some();
    let cluster = if ask { Some(seen(&args.access.connect().await?).await?) } else { None };
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let told = Told { version: env!("CARGO_PKG_VERSION"), api: API_VERSION, target, cluster };
    let same = told.cluster.iter().flat_map(|c| &c.definitions).all(|(_, how)| *how == "same");
    match args.output {
        Output::Json => print(&(serde_json::to_string_pretty(&told).context("the answer as JSON")? + "\n"))?,
        Output::Text => {
            print(&format!("bascule {} for {}, API {}\n", told.version, told.target, told.api))?;
            if let Some(c) = &told.cluster {
                print(&format!("Kubernetes {} at {}\n", c.kubernetes, c.cluster))?;
                for (name, how) in &c.definitions {
                    print(&format!("  {how:<8} {name}\n"))?;
                }
            }
        }
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

async fn seen(cluster: &Cluster) -> anyhow::Result<Seen> {
    let client = cluster.kube().client();
    let deadline = cluster.kube().deadline();
    let asked = |what: String| Asked { place: cluster.place().clone(), verb: "get", what };
    let asking = asked("/version".to_owned());
    let kubernetes = match tokio::time::timeout(deadline, client.apiserver_version()).await {
        Ok(Ok(info)) => info.git_version,
        Ok(Err(error)) => return Err(asking.failed(&error).into()),
        Err(_) => return Err(asking.silence(deadline).into()),
    };
    let api = Api::<CustomResourceDefinition>::all(client);
    let mut all = Vec::new();
    for definition in definitions().context("the definitions of this program")? {
        let name = definition.json["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let asking = asked(format!("customresourcedefinitions {name}"));
        let how = match tokio::time::timeout(deadline, api.get_opt(&name)).await {
            Ok(Ok(None)) => "missing",
            Ok(Ok(Some(found))) if is_ours(&found, definition.schema()) => "same",
            Ok(Ok(Some(_))) => "differs",
            Ok(Err(error)) => return Err(asking.failed(&error).into()),
            Err(_) => return Err(asking.silence(deadline).into()),
        };
        all.push((name, how));
    }
    Ok(Seen { cluster: cluster.place().to_string(), kubernetes, definitions: all })
}

/// Whether a definition has this schema.
pub fn is_ours(found: &CustomResourceDefinition, schema: &Value) -> bool {
    let found = serde_json::to_value(found).unwrap_or_default();
    found.pointer("/spec/versions/0/schema/openAPIV3Schema").map(plain) == Some(plain(schema))
}

/// Numbers as one kind of number: a schema's bounds are written as whole ones and come back as others.
fn plain(schema: &Value) -> Value {
    match schema {
        Value::Number(n) => n.as_f64().map_or_else(|| schema.clone(), Value::from),
        Value::Array(all) => all.iter().map(plain).collect(),
        Value::Object(all) => all.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        other => other.clone(),
    }
}
