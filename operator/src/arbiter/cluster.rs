//! What a member in a cluster gets: Secrets and values for `charts/bascule-arbiter`.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::certificates::Member;
use super::description::{Described, Description};
use super::folder::File;

/// The Secret with the member's certificates.
pub const SECRET: &str = "bascule-arbiter-member";
/// The Secret of the user that backs up and defragments.
pub const MAINTENANCE: &str = "bascule-arbiter-maintenance";
/// The ports that a NodePort may have, unless the cluster's API server was told otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// The chart's values and both Secrets of the member that is the `number`th.
pub fn files(about: &Description, number: usize, certificates: &Member) -> anyhow::Result<Vec<File>> {
    let member = about.members.get(number).context("a member that is none; this is a defect of Bascule")?;
    let folder = format!("members/{}", member.name);
    let mut files = certificates.files(&folder);
    files.extend(certificates.maintenance.files(&format!("{folder}/maintenance")));
    files.push(secret(&format!("{folder}/secret.yaml"), SECRET, &certificates.parts())?);
    files.push(secret(
        &format!("{folder}/maintenance/secret.yaml"),
        MAINTENANCE,
        &certificates.maintenance.parts(),
    )?);
    let head = format!(
        "# The member {} of the arbiter, for `helm install … charts/bascule-arbiter -f values.yaml`; made by `bascule arbiter init`.\n",
        member.name
    );
    files.push(File::open(format!("{folder}/values.yaml"), head + &yaml(&values(about, number, member))?));
    Ok(files)
}

fn values(about: &Description, number: usize, member: &Described) -> Value {
    let all: Vec<Value> = about
        .members
        .iter()
        .map(|m| json!({ "name": m.name, "clientUrl": m.client_url, "peerUrl": m.peer_url }))
        .collect();
    let mut values = json!({
        "member": member.name,
        "members": all,
        "cluster": { "token": about.token, "state": "new" },
        "tls": { "secretName": SECRET },
        "profile": about.profile.name(),
        // No two members are defragmented at the same time.
        "maintenance": {
            "secretName": MAINTENANCE,
            "schedule": format!("17 {} * * *", (3 + number * 24 / about.members.len()) % 24),
        },
    });
    if [member.client_port(), member.peer_port()].iter().all(|port| NODE_PORTS.contains(port)) {
        values["service"] = json!({ "type": "NodePort" });
    }
    values
}

/// A Secret, in the namespace that it is applied to.
pub fn secret(path: &str, name: &str, parts: &[(&str, &str)]) -> anyhow::Result<File> {
    let data: serde_json::Map<String, Value> =
        parts.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": "Opaque",
        "stringData": data,
    });
    Ok(File::secret(path, yaml(&secret)?))
}

/// As YAML.
pub fn yaml(value: &Value) -> anyhow::Result<String> {
    serde_yaml::to_string(value).context("as YAML")
}
