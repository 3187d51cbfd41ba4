//! Which cluster is asked, and with whose credentials.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_adapters::kube::Kube;
use bascule_adapters::kube::failure::chain;
use bascule_adapters::kube::kubeconfig::reason;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::trouble::Trouble;

/// How long a person waits for an API server's answer to one question. Together with the start of the program and a
/// connection it stays below five seconds.
const ANSWER: Duration = Duration::from_secs(4);

/// Who is asked, in words for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `context lyon of /root/.kube/config`.
    pub from: String,
    /// The API server's address.
    pub server: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.from, self.server)
    }
}

/// Prepares the connection. Nothing is sent yet, but for a credentials' program that the kubeconfig names.
pub async fn connect(path: Option<&Path>, context: Option<&str>) -> Result<(Kube, Place), Trouble> {
    let from = path.map_or_else(usual_place, |path| format!("kubeconfig {}", path.display()));
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let in_pod = path.is_none() && context.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let unusable = |why: String| Trouble::Kubeconfig { from: from.clone(), why };
    let (config, from) = match read {
        Ok(file) => {
            let context = choose(&file, context, &from)?;
            if let Some(user) = missing_user(&file, &context) {
                let why = format!("context {context} names the user {user}, which is not in the file");
                return Err(unusable(why));
            }
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            let config =
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| unusable(reason(&e)))?;
            (config, format!("context {context} of {from}"))
        }
        Err(_) if in_pod => {
            let from = "the pod's service account".to_owned();
            let why = |e| Trouble::Kubeconfig { from: from.clone(), why: chain(&e) };
            (Config::incluster().map_err(why)?, from)
        }
        Err(why) if path.is_none() => {
            let from = faulty_one().unwrap_or_else(|| from.clone());
            return Err(Trouble::Kubeconfig { from, why: reason(&why) });
        }
        Err(why) => return Err(unusable(reason(&why))),
    };
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let kube = Kube::from_config(config, None)
        .map_err(|e| Trouble::Kubeconfig { from: from.clone(), why: chain(&e) })?;
    Ok((kube.within(ANSWER), Place { from, server }))
}

fn choose(file: &Kubeconfig, wanted: Option<&str>, from: &str) -> Result<String, Trouble> {
    let contexts = || file.contexts.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let current = file.current_context.as_deref().filter(|c| !c.is_empty());
    match wanted.or(current) {
        None => Err(Trouble::NoContext { from: from.to_owned(), contexts: contexts() }),
        Some(name) if file.contexts.iter().any(|c| c.name == name) => Ok(name.to_owned()),
        Some(name) => Err(Trouble::UnknownContext {
            from: from.to_owned(),
            context: name.to_owned(),
            contexts: contexts(),
        }),
    }
}

/// The user that a context names and the file does not have. Taken for nobody, the API server would refuse everything.
fn missing_user(file: &Kubeconfig, context: &str) -> Option<String> {
    let context = file.contexts.iter().find(|c| c.name == context)?.context.as_ref()?;
    let user = context.user.as_ref().filter(|user| !user.is_empty())?;
    (!file.auth_infos.iter().any(|known| known.name == *user)).then(|| user.clone())
}

/// Of several files in KUBECONFIG the first that cannot be read as a kubeconfig.
fn faulty_one() -> Option<String> {
    let files: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("KUBECONFIG")?).collect();
    let wrong = |file: &&PathBuf| file.exists() && Kubeconfig::read_from(file).is_err();
    let file = files.iter().filter(|_| files.len() > 1).find(wrong)?;
    Some(format!("kubeconfig {} (of KUBECONFIG)", file.display()))
}

/// Where kubectl looks, too.
fn usual_place() -> String {
    match std::env::var("KUBECONFIG") {
        Ok(files) if !files.is_empty() => format!("kubeconfig {files} (from KUBECONFIG)"),
        _ => {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            format!("kubeconfig {}", home.join(".kube/config").display())
        }
    }
}
