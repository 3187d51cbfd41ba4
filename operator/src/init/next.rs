//! What a person does with the policy: the Secrets that it names, the operators, and the way of the file into the clusters.
//! No value of a Secret is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bascule_core::name::SiteName;
use bascule_core::timing::Profile;

use super::choose::{Choice, Source};
use super::policy::scalar;

/// The name of the source's Secret.
const GIT_SECRET: &str = "git-credentials";

/// What is known of each site's Secrets; `None`: whether it is there is not known.
pub type Secrets = BTreeMap<SiteName, BTreeMap<String, Option<bool>>>;

/// A Secret that has to be there.
struct Wanted {
    name: String,
    what: String,
    /// The arguments after the name.
    from: Vec<String>,
}

/// Names of every Secret that is asked about.
pub fn names(choice: &Choice) -> BTreeSet<String> {
    wanted(choice).into_iter().map(|w| w.name).collect()
}

fn wanted(choice: &Choice) -> Vec<Wanted> {
    let mut all = Vec::new();
    let file = |key: &str, name: &str| format!("--from-file={key}={name}");
    if let Some(database) = &choice.database {
        all.push(Wanted {
            name: database.secret.clone(),
            what: format!(
                "the role that the operator asks database {} with (bascule-role.sql makes it)",
                database.name
            ),
            from: vec![
                "--from-literal=username=bascule".to_owned(),
                file("password", &format!("{}.password", database.secret)),
            ],
        });
        all.push(Wanted {
            name: database.replication_secret.clone(),
            what: format!("the role that the servers of database {} replicate with", database.name),
            from: vec![
                "--from-literal=username=replication".to_owned(),
                file("password", &format!("{}.password", database.replication_secret)),
            ],
        });
    }
    if let Some(traffic) = &choice.traffic {
        all.push(Wanted {
            name: traffic.key.clone(),
            what: format!(
                "the TSIG key of {}: put its name and algorithm here as its servers have them",
                traffic.zone
            ),
            from: vec![
                "--from-literal=name=KEY-NAME.".to_owned(),
                "--from-literal=algorithm=hmac-sha256".to_owned(),
                file("secret", &format!("{}.secret", traffic.key)),
            ],
        });
    }
    if let Some(source) = &choice.source {
        let from = if source.url.starts_with("ssh://") {
            vec![file("identity", "git.identity"), file("known_hosts", "git.known_hosts")]
        } else {
            vec!["--from-literal=username=USER".to_owned(), file("password", "git.password")]
        };
        all.push(Wanted {
            name: GIT_SECRET.to_owned(),
            what: format!("who reads {}; leave it out, with secretRef below, where anybody may", source.url),
            from,
        });
    }
    all
}

/// The page; `file` is the policy's.
pub fn text(choice: &Choice, file: &str, profile: Profile, secrets: &Secrets) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut say = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    let namespace = &choice.namespace;
    say(&format!("# What is to be done for the policy {namespace}/{}\n", choice.name));
    say(
        "Made by `bascule init`. No secret is in this file: passwords and keys are read from files of yours.\n",
    );
    say("## 1. Can everything be installed?\n\n```");
    let sites: Vec<String> = choice
        .sites
        .iter()
        .map(|(site, context)| format!("--site {}", shell(&format!("{site}={context}"))))
        .collect();
    say(&format!(
        "bascule check --pre --profile {profile} {} \\\n  --arbiter-endpoints … --arbiter-ca ca.crt --arbiter-cert tls.crt --arbiter-key tls.key {file}\n```\n",
        sites.join(" ")
    ));
    of_secrets(choice, secrets, &mut say);
    if let Some(database) = &choice.database {
        say(&format!("## 3. The database {}\n", database.name));
        say(&format!(
            "In each site the container of StatefulSet `{}` begins with `bascule guard postgres --`, its pod shares no process\nnamespace, and no liveness probe asks the server: docs/install.md has what matters in the template. The two roles are made once, on the\nserver that has the data:\n",
            database.set
        ));
        say(&format!(
            "```\npsql -d postgres -v ON_ERROR_STOP=1 -v password=\"$(cat {}.password)\" -f operator/adapters/src/postgres/sql/bascule-role.sql\npsql -d postgres -v password=\"$(cat {}.password)\" <<'SQL'\nCREATE ROLE replication LOGIN REPLICATION PASSWORD :'password';\n-- What pg_rewind needs, when a site comes back:\nGRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO replication;\nGRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO replication;\nGRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO replication;\nGRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO replication;\nSQL\n```\n",
            database.secret, database.replication_secret
        ));
    }
    let n = if choice.database.is_some() { 4 } else { 3 };
    say(&format!("## {n}. The operators\n"));
    say(
        "One in each site, under the site's own name (docs/install.md and charts/bascule/README.md say what its Secrets hold).\nWhere `bascule arbiter init` made the arbiter, `-f arbiter/sites/NAME/values.yaml` stands for the first four values:\n\n```",
    );
    for (site, context) in &choice.sites {
        say(&format!(
            "helm --kube-context {} install bascule charts/bascule --namespace bascule-system --create-namespace \\\n  --set site.name={site} --set profile={profile} --set 'arbiter.endpoints={{https://…,https://…,https://…}}' \\\n  --set arbiter.secretName=bascule-arbiter --set guards.secretName=bascule-guards",
            shell(context)
        ));
    }
    say("```\n");
    say(&format!("## {}. The policy\n", n + 1));
    match &choice.source {
        None => {
            say("Without git, apply it in every site; the kinds come with the operators:\n\n```");
            for (_, context) in &choice.sites {
                say(&format!("kubectl --context {} apply -f {file}", shell(context)));
            }
            say("```\n");
        }
        Some(source) => from_git(choice, source, file, &mut say),
    }
    say("Then `bascule status` says where it stands, and in each site `bascule check` what is in the way.");
    out
}

fn of_secrets(choice: &Choice, secrets: &Secrets, say: &mut impl FnMut(&str)) {
    let all = wanted(choice);
    say("## 2. Secrets\n");
    if all.is_empty() {
        return say("The policy names none.\n");
    }
    say(
        "Each is needed in every site. Write each value into the file that its command names, in a directory that only you can\nread, for example `openssl rand -base64 24 > NAME.password`; a newline at the end does not count.\n\n```",
    );
    for secret in &all {
        say(&format!("# {}: {}", secret.name, secret.what));
        for (site, context) in &choice.sites {
            let command = format!(
                "kubectl --context {} -n {} create secret generic {} {}",
                shell(context),
                choice.namespace,
                secret.name,
                secret.from.join(" ")
            );
            match secrets.get(site).and_then(|s| s.get(&secret.name)).copied().flatten() {
                Some(true) => say(&format!("#   {site} has it already: {command}")),
                Some(false) => say(&command),
                None => say(&format!("#   whether {site} has it is not known:\n{command}")),
            }
        }
    }
    say("```\n");
}

fn from_git(choice: &Choice, source: &Source, file: &str, say: &mut impl FnMut(&str)) {
    let folder =
        if source.path == "." { String::new() } else { format!("{}/", source.path.trim_end_matches('/')) };
    say(&format!(
        "Commit it to {} as `{folder}{file}`, on the branch `{}`. A folder of policies holds policies and Moves of one namespace\nand nothing else. Then tell every site to read it:\n\n```",
        source.url, source.branch
    ));
    for (_, context) in &choice.sites {
        say(&format!("kubectl --context {} apply -f - <<'YAML'", shell(context)));
        say(&manifest(choice, source));
        say("YAML");
    }
    say("```\n");
}

/// The PolicySource.
fn manifest(choice: &Choice, source: &Source) -> String {
    format!(
        "# Where the policies and Moves of this namespace are read from.
apiVersion: bascule.dev/v1alpha1
kind: PolicySource
metadata:
  name: policies
  namespace: {}
spec:
  url: {}
  ref: {{ branch: {} }}
  # The folder that is read, with everything below it.
  path: {}
  # How often it is asked. A failover never waits for git.
  interval: 30s
  secretRef: {{ name: {GIT_SECRET} }}",
        scalar(choice.namespace.as_str()),
        scalar(&source.url),
        scalar(&source.branch),
        scalar(&source.path)
    )
}

/// A word as a shell takes it.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_for_a_shell() {
        assert_eq!(shell("paris=admin@paris"), "paris=admin@paris");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(shell(""), "''");
    }
}
