//! `docs/rbac.md`: every right of the operator, and why.

use bascule_adapters::kube::rights::{Names, RIGHTS, Right, Scope};

const HEAD: &str = "<!-- Generated from operator/adapters/src/kube/rights.rs by `make chart`; do not edit. -->
# What the operator may do in its cluster

One ServiceAccount in each site, with rights in that site's cluster alone: no operator has a kubeconfig of another site.
The chart's roles are made from the list below (`charts/bascule/templates/rbac.yaml`), and a test makes each call on a
real API server with exactly these rights, then again without each single one, which must be refused
(`operator/adapters/tests/kube/rights.rs`).

It may not read or write roles, use another's identity, run anything in a pod, or delete anything but policies and Moves
that came from git. It changes one key, one number or one annotation at a time, by server-side apply without force, and
leaves what another field manager owns.

The guards beside the databases need no right at all: they never ask the API server.

";

const TAIL: &str = "## To give less

- `watchNamespaces` limits the operator to the namespaces that are listed. It gets a Role and a RoleBinding in each, with what
  the two tables for Bascule's own kinds and for the applications have, and of the whole cluster no more than the first table.
  Policies, Moves and PolicySources elsewhere are not seen: they get no status, as if no operator were there, and
  `bascule check --operator bascule-system/bascule` says `NotWatched`. Name the same namespaces in every site. Take one out
  only when no policy is left in it: for the operator that is as if its policies were deleted. Each must be there before
  the release; while one of them cannot be listed, because it was deleted say, the operator goes on for all others, its log
  names it, and after a restart it does not say that it is ready.
- `rbac.namespaces` binds the rights in the applications' namespaces alone to those that are listed; policies are seen
  everywhere. A policy elsewhere says in its status which right is missing, and no transition of it begins.
- `rbac.secretNames` lists the only Secrets that may be read there: those that policies name (`secretRef`,
  `replicationSecretRef`, `tsigSecretRef`) and PolicySources (`secretRef`).
- `rbac.create: false` leaves roles and bindings to you; this page and `helm template` say what they have to hold.

People need none of this. With `rbac.people` the cluster's own roles `view`, `edit` and `admin` let those who may see an
application see its policies, and those who may change it write Moves. Who may write a Move may move the application.
Everybody who is logged in may then get the operator's heartbeat, the Lease `bascule-operator`: without it `bascule why`,
`status`, `plan` and `check` cannot know whether the operator still lives, and believe no status that is older than 30
seconds. It names the policies whose status could not be written, and nothing else. Without `rbac.people`, give the verb
`get` on it to those who ask.
";

pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    for (scope, title, said) in [
        (Scope::Cluster, "In the whole cluster", "Nodes and Namespaces are in no namespace."),
        (
            Scope::Kinds,
            "Bascule's own kinds",
            "In all namespaces, or in those of `watchNamespaces`. A source writes into its own namespace alone.",
        ),
        (
            Scope::Own,
            "In the operator's own namespace",
            "What it must remember when the arbiter forgets, and its heartbeat.",
        ),
        (
            Scope::Applications,
            "In the namespaces of the applications",
            "All of them, or those of `watchNamespaces` or `rbac.namespaces`.",
        ),
    ] {
        text += &format!("## {title}\n\n{said}\n\n| Resource | Objects | Verb | Why |\n|---|---|---|---|\n");
        for right in RIGHTS.iter().filter(|r| r.scope == scope) {
            for (verb, why) in right.verbs {
                text += &format!("| {} | {} | `{verb}` | {why} |\n", resource(right), objects(right));
            }
        }
        text.push('\n');
    }
    text + TAIL
}

fn resource(right: &Right) -> String {
    match right.group {
        "" => format!("`{}`", right.resource),
        group => format!("`{}` of `{group}`", right.resource),
    }
}

fn objects(right: &Right) -> String {
    let which = match right.names {
        Names::Any => "any".to_owned(),
        Names::Only(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        Names::Listed => "any, or those of `rbac.secretNames`".to_owned(),
    };
    match right.only_for {
        None => which,
        Some(only) => {
            format!("{which}; only with `{}`, for policies with `{}`", only.setting, only.field)
        }
    }
}
