//! Every right that the operator needs at its site's API server, with the reason for each: the one list.
//!
//! The chart's roles and the page `docs/rbac.md` are made from it. A test makes each call on a real API server with
//! exactly these rights, and again without each single one of them.

/// Where a right is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In the whole cluster: for what has no namespace.
    Cluster,
    /// Bascule's own kinds: in all namespaces, or in those that the operator is told to watch.
    Kinds,
    /// In the operator's own namespace.
    Own,
    /// In the namespaces of the applications.
    Applications,
}

/// What a right may be narrowed to by the names of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any object: their names are not known before somebody writes a policy.
    Any,
    /// These objects.
    Only(&'static [&'static str]),
    /// Any object, or those that whoever installs the operator lists.
    Listed,
}

/// What a right is for that not every installation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnlyFor {
    /// The field of a policy that needs it.
    pub field: &'static str,
    /// The chart's value that gives it.
    pub setting: &'static str,
}

/// Verbs on one resource, for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where.
    pub scope: Scope,
    /// The API group; empty: the core.
    pub group: &'static str,
    /// The resource, as in its URL.
    pub resource: &'static str,
    /// Which objects.
    pub names: Names,
    /// What may be done, and why each is needed.
    pub verbs: &'static [(&'static str, &'static str)],
    /// Whether an installation may do without it, and what does not work then.
    pub only_for: Option<OnlyFor>,
}

/// The list.
pub const RIGHTS: [Right; 24] = [
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "failoverpolicies",
        names: Names::Any,
        verbs: &[
            ("get", "a policy is compared with git before it is written"),
            ("list", "the policies there are, and those that a source owns"),
            ("watch", "a changed policy is acted on at once"),
            ("create", "a policy that is new in git; a dry run fills in defaults for the comparison"),
            ("patch", "a policy that git has changed, and an edit by hand that is taken back"),
            ("delete", "a policy that git does not have any more"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "failoverpolicies/status",
        names: Names::Any,
        verbs: &[("patch", "the verdict, conditions, gates and the last transition")],
        only_for: None,
    },
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "moves",
        names: Names::Any,
        verbs: &[
            ("get", "a Move that is there already is not created again"),
            ("list", "the Moves there are"),
            ("watch", "a person's command is acted on at once"),
            ("create", "a Move that is new in git; it is never changed"),
            ("delete", "a Move that git does not have any more, which gives it up"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "moves/status",
        names: Names::Any,
        verbs: &[("patch", "what became of the command, and why")],
        only_for: None,
    },
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "policysources",
        names: Names::Any,
        verbs: &[
            ("get", "one that cannot be read is told so in its status"),
            ("list", "the sources there are"),
            ("watch", "a changed source is followed at once"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Kinds,
        group: "bascule.dev",
        resource: "policysources/status",
        names: Names::Any,
        verbs: &[("patch", "the revision in force, and what was wrong with a newer one")],
        only_for: None,
    },
    Right {
        scope: Scope::Cluster,
        group: "",
        resource: "namespaces",
        names: Names::Only(&["kube-system"]),
        verbs: &[("get", "its UID tells this cluster from every other that might use the same site name")],
        only_for: None,
    },
    Right {
        scope: Scope::Cluster,
        group: "",
        resource: "nodes",
        names: Names::Any,
        verbs: &[("get", "whether the node under a database that is silent still reports")],
        only_for: None,
    },
    Right {
        scope: Scope::Own,
        group: "",
        resource: "configmaps",
        names: Names::Only(&["bascule-marks"]),
        verbs: &[
            ("get", "the highest epoch and serial that this site has seen of each policy"),
            ("patch", "they are raised, never lowered"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Own,
        group: "",
        resource: "configmaps",
        names: Names::Any,
        verbs: &[("create", "bascule-marks, the first time; a create cannot be limited to a name")],
        only_for: None,
    },
    Right {
        scope: Scope::Own,
        group: "coordination.k8s.io",
        resource: "leases",
        names: Names::Only(&["bascule-operator"]),
        verbs: &[(
            "patch",
            "the heartbeat, every ten seconds: that the operator lives, and which status it could not write",
        )],
        only_for: None,
    },
    Right {
        scope: Scope::Own,
        group: "coordination.k8s.io",
        resource: "leases",
        names: Names::Any,
        verbs: &[("create", "bascule-operator, the first time; a create cannot be limited to a name")],
        only_for: None,
    },
    Right {
        scope: Scope::Own,
        group: "",
        resource: "services",
        names: Names::Any,
        verbs: &[("get", "whether the responder's Service is there before a route leads to it")],
        only_for: Some(OnlyFor { field: "traffic[].httpRoute.refuseWrites", setting: "responder.enabled" }),
    },
    Right {
        scope: Scope::Own,
        group: "gateway.networking.k8s.io",
        resource: "referencegrants",
        names: Names::Any,
        verbs: &[("list", "whether routes of a policy's namespace may lead to the responder")],
        only_for: Some(OnlyFor { field: "traffic[].httpRoute.refuseWrites", setting: "responder.enabled" }),
    },
    Right {
        scope: Scope::Applications,
        group: "",
        resource: "secrets",
        names: Names::Listed,
        verbs: &[(
            "get",
            "those that a policy or a source names: the database's users, the zone's key, git's credentials",
        )],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "",
        resource: "configmaps",
        names: Names::Any,
        verbs: &[
            ("get", "the present value of a read-only flag"),
            ("create", "the ConfigMap of a read-only flag where there is none yet"),
            ("patch", "one key of it, by server-side apply without force"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "",
        resource: "secrets",
        names: Names::Any,
        verbs: &[
            ("create", "the Secret of a read-only flag where there is none yet"),
            ("patch", "one key of it, by server-side apply without force"),
        ],
        only_for: Some(OnlyFor { field: "readOnly.secretKey", setting: "rbac.secretFlags" }),
    },
    Right {
        scope: Scope::Applications,
        group: "",
        resource: "pods",
        names: Names::Any,
        verbs: &[
            ("get", "whether a database's pod runs, ends or restarts, and whether its guard can do its work"),
            ("list", "the pods of a workload, to ask each whether it is read-only"),
            ("patch", "one annotation, so that their kubelets look at a changed flag at once"),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "apps",
        resource: "deployments",
        names: Names::Any,
        verbs: &[
            ("get", "the number of replicas, wanted and ready, its read-only flag, and who owns them"),
            (
                "patch",
                "spec.replicas, and a read-only flag: one annotation, or one variable of its template; by server-side apply without force",
            ),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "apps",
        resource: "statefulsets",
        names: Names::Any,
        verbs: &[
            ("get", "the number of replicas, wanted and ready, its read-only flag, and who owns them"),
            (
                "patch",
                "spec.replicas, and a read-only flag: one annotation, or one variable of its template; by server-side apply without force",
            ),
        ],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "autoscaling",
        resource: "horizontalpodautoscalers",
        names: Names::Any,
        verbs: &[("list", "whether something else scales a workload")],
        only_for: None,
    },
    Right {
        scope: Scope::Applications,
        group: "gateway.networking.k8s.io",
        resource: "httproutes",
        names: Names::Any,
        verbs: &[
            ("get", "where its weights lead, and what its gateways say of it"),
            ("list", "each route that a policy names, before it is watched"),
            ("watch", "weights that somebody sets back, and gateways that obey, are seen at once"),
            (
                "patch",
                "the weights of its backends, rules of its own in front of the others and two annotations, by a JSON patch for the version that was read",
            ),
        ],
        only_for: Some(OnlyFor { field: "traffic[].httpRoute", setting: "rbac.httpRoutes" }),
    },
    Right {
        scope: Scope::Applications,
        group: "gateway.networking.k8s.io",
        resource: "gateways",
        names: Names::Any,
        verbs: &[("get", "whether the data plane behind a route is programmed")],
        only_for: Some(OnlyFor { field: "traffic[].httpRoute", setting: "rbac.httpRoutes" }),
    },
    Right {
        scope: Scope::Applications,
        group: "events.k8s.io",
        resource: "events",
        names: Names::Any,
        verbs: &[
            ("create", "what happened, for those who look at a policy"),
            ("patch", "the same again is counted in one Event"),
        ],
        only_for: None,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_right_lets_the_operator_give_itself_more() {
        for right in RIGHTS {
            for (verb, _) in right.verbs {
                assert!(
                    !["escalate", "bind", "impersonate", "deletecollection", "*"].contains(verb),
                    "{right:?}"
                );
            }
            assert!(!right.resource.contains('*') && !right.group.contains('*'), "{right:?}");
            assert_ne!(right.group, "rbac.authorization.k8s.io", "{right:?}");
        }
    }

    #[test]
    fn every_right_is_listed_once_and_has_a_reason() {
        let mut seen = BTreeSet::new();
        for right in RIGHTS {
            for (verb, why) in right.verbs {
                assert!(
                    seen.insert((right.scope, right.group, right.resource, *verb)),
                    "{verb} twice: {right:?}"
                );
                assert!(why.len() > 10, "{right:?}");
            }
        }
    }
}
