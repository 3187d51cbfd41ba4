//! What each site's accounts may do at a witness, and what nobody may: the chart `bascule-witness` is made from this, and the
//! tests install it.
//!
//! Roles say which objects; the admission policies say what of them. An account is known by its name: `operator-SITE` and
//! `guard-SITE`, in the namespace of the arbiter's objects.

use bascule_core::name::SiteName;
use bascule_crds::witness::GROUP;
use serde_json::{Value, json};

use super::object::Kind;

/// The account of a site's operator.
pub fn operator_account(site: &str) -> String {
    format!("operator-{site}")
}

/// The account of a site's guards.
pub fn guard_account(site: &str) -> String {
    format!("guard-{site}")
}

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The plural of the objects' kind.
    pub resource: &'static str,
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// Whether only to the object that is named like the site.
    pub own: bool,
}

/// What a site's operator may do.
///
/// Its lease is made once, by a request that names no object to RBAC: the admission policy sees to it that it is its own.
/// Nothing may be deleted.
pub const OPERATOR: &[Right] = &[
    Right { resource: "siteleases", verbs: &["get", "list", "create"], own: false },
    Right { resource: "siteleases", verbs: &["patch"], own: true },
    Right { resource: "policyrecords", verbs: &["get", "list", "watch", "create", "update"], own: false },
    Right { resource: "sitefacts", verbs: &["get", "list", "watch", "create", "patch"], own: false },
];

/// What a site's guards may do: read the record, and renew their own site's lease.
pub const GUARD: &[Right] = &[
    Right { resource: "policyrecords", verbs: &["get"], own: false },
    Right { resource: "siteleases", verbs: &["get", "patch"], own: true },
];

/// One rule of an admission policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What must hold, in CEL.
    pub expression: &'static str,
    /// What is said when it does not, in CEL.
    pub message: &'static str,
    /// `Forbidden`: it is about who writes; `Invalid`: about what is written.
    pub reason: &'static str,
}

/// One admission policy: the rules of one kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// What its name ends with.
    pub name: &'static str,
    /// The plural of the objects' kind.
    pub resource: &'static str,
    /// Its rules; all must hold.
    pub rules: &'static [Rule],
}

/// What nobody may do, whatever roles he has.
///
/// Whoever changes no more than labels is let through: Kubernetes' own controllers and people do that.
pub const ADMISSIONS: &[Admission] = &[
    Admission {
        name: "leases",
        resource: Kind::Lease.plural(),
        rules: &[
            Rule {
                expression: "(oldObject != null && object.spec == oldObject.spec) || request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':operator-' + object.metadata.name || (oldObject != null && request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':guard-' + object.metadata.name)",
                message: "'the lease of ' + object.metadata.name + ' is made by the account operator-' + object.metadata.name + ' and renewed by it and guard-' + object.metadata.name + '; this is ' + request.userInfo.username",
                reason: "Forbidden",
            },
            Rule {
                expression: "request.userInfo.username != 'system:serviceaccount:' + request.namespace + ':guard-' + object.metadata.name || (oldObject != null && object.spec.owner == oldObject.spec.owner && object.spec.acting == oldObject.spec.acting)",
                message: "'a guard may renew the lease of ' + object.metadata.name + ' and change neither its owner nor who acts'",
                reason: "Forbidden",
            },
            Rule {
                expression: "oldObject == null || object.spec.owner == oldObject.spec.owner",
                message: "'the name ' + object.metadata.name + ' belongs to the cluster ' + oldObject.spec.owner + '; when that is gone for good, delete the SiteLease'",
                reason: "Invalid",
            },
            Rule {
                expression: "oldObject == null || object.spec.acting.count >= oldObject.spec.acting.count",
                message: "'spec.acting.count would fall from ' + string(oldObject.spec.acting.count) + ' to ' + string(object.spec.acting.count)",
                reason: "Invalid",
            },
        ],
    },
    Admission {
        name: "records",
        resource: Kind::Record.plural(),
        rules: &[
            Rule {
                expression: "(oldObject != null && object.spec == oldObject.spec) || request.userInfo.username.startsWith('system:serviceaccount:' + request.namespace + ':operator-')",
                message: "'records are written by operators; this is ' + request.userInfo.username",
                reason: "Forbidden",
            },
            Rule {
                expression: "oldObject == null || object.spec == oldObject.spec || object.spec.record.serial > oldObject.spec.record.serial",
                message: "'spec.record.serial is raised with every change: found ' + string(object.spec.record.serial) + ' after ' + string(oldObject.spec.record.serial)",
                reason: "Invalid",
            },
            Rule {
                expression: "oldObject == null || object.spec.record.epoch >= oldObject.spec.record.epoch",
                message: "'spec.record.epoch would fall from ' + string(oldObject.spec.record.epoch) + ' to ' + string(object.spec.record.epoch)",
                reason: "Invalid",
            },
            Rule {
                expression: "oldObject == null || object.spec.record.generation >= oldObject.spec.record.generation",
                message: "'spec.record.generation would fall from ' + string(oldObject.spec.record.generation) + ' to ' + string(object.spec.record.generation)",
                reason: "Invalid",
            },
            Rule {
                expression: "oldObject == null || object.spec.record.active == oldObject.spec.record.active || object.spec.record.epoch > oldObject.spec.record.epoch",
                message: "'spec.record.active changes from ' + oldObject.spec.record.active + ' to ' + object.spec.record.active + ' and spec.record.epoch does not rise'",
                reason: "Invalid",
            },
        ],
    },
    Admission {
        name: "facts",
        resource: Kind::Facts.plural(),
        rules: &[Rule {
            expression: "(oldObject != null && object.spec == oldObject.spec) || request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':operator-' + object.metadata.name.split('.')[0]",
            message: "'these are the facts of ' + object.metadata.name.split('.')[0] + ', written by its account operator-' + object.metadata.name.split('.')[0] + '; this is ' + request.userInfo.username",
            reason: "Forbidden",
        }],
    },
];

impl Admission {
    /// The policy, named `NAME-…`.
    pub fn policy(&self, name: &str) -> Value {
        let validations: Vec<Value> = self
            .rules
            .iter()
            .map(|rule| {
                json!({
                    "expression": rule.expression,
                    "messageExpression": rule.message,
                    "reason": rule.reason,
                })
            })
            .collect();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": format!("{name}-{}", self.name) },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [GROUP],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [self.resource],
                }] },
                "validations": validations,
            },
        })
    }

    /// What makes the policy hold, in `namespace`.
    pub fn binding(&self, name: &str, namespace: &str) -> Value {
        let name = format!("{name}-{}", self.name);
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": {
                    "matchLabels": { "kubernetes.io/metadata.name": namespace },
                } },
            },
        })
    }
}

/// The rules of a role with these rights, for a site.
pub fn rules(rights: &[Right], site: &str) -> Value {
    let rule = |right: &Right| {
        let mut rule = json!({
            "apiGroups": [GROUP],
            "resources": [right.resource],
            "verbs": right.verbs,
        });
        if right.own {
            rule["resourceNames"] = json!([site]);
        }
        rule
    };
    rights.iter().map(rule).collect()
}

/// Everything that a witness needs in `namespace` for these sites, but for the namespace, the definitions and the tokens.
pub fn manifests(name: &str, namespace: &str, sites: &[SiteName]) -> Vec<Value> {
    let mut all = Vec::new();
    for site in sites {
        let site = site.as_str();
        for (account, rights) in [(operator_account(site), OPERATOR), (guard_account(site), GUARD)] {
            let metadata = json!({ "name": account, "namespace": namespace });
            all.push(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }));
            all.push(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": rules(rights, site),
            }));
            all.push(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account },
                "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
            }));
        }
    }
    for admission in ADMISSIONS {
        all.push(admission.policy(name));
        all.push(admission.binding(name, namespace));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_writes_no_other_sites_lease_and_nobody_deletes() {
        for rights in [OPERATOR, GUARD] {
            for right in rights {
                let writes = |verb: &&str| matches!(*verb, "patch" | "update");
                let shared = right.resource != "siteleases" || right.own;
                assert!(shared || !right.verbs.iter().any(writes), "{right:?}");
                assert!(!right.verbs.iter().any(|verb| verb.starts_with("delete")), "{right:?}");
            }
        }
        assert!(GUARD.iter().all(|right| right.own || right.verbs == ["get"]));
    }

    #[test]
    fn every_kind_has_its_admission_policy() {
        let ruled: Vec<&str> = ADMISSIONS.iter().map(|a| a.resource).collect();
        assert_eq!(ruled, [Kind::Lease, Kind::Record, Kind::Facts].map(Kind::plural));
    }
}
