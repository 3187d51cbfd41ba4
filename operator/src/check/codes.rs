//! Every code of a finding, with how much it matters and what to do. A test holds the list equal to the sections of
//! `docs/checks.md`.

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// A transition cannot work, or cannot be safe, as it stands.
    Error,
    /// It works, but costs time, safety margin or comfort when it is needed; or it is not known from here.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its stable name.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What to do.
    pub hint: &'static str,
}

const fn error(name: &'static str, hint: &'static str) -> Code {
    Code { name, severity: Severity::Error, hint }
}

const fn warning(name: &'static str, hint: &'static str) -> Code {
    Code { name, severity: Severity::Warning, hint }
}

const fn info(name: &'static str, hint: &'static str) -> Code {
    Code { name, severity: Severity::Info, hint }
}

/// A file holds something that is refused.
pub const FILE_INVALID: Code = error(
    "FileInvalid",
    "Correct the line; until then the whole revision is refused, and what stood before stays in force.",
);
/// A policy of the cluster cannot be used.
pub const POLICY_INVALID: Code =
    error("PolicyInvalid", "Correct the policy where it comes from, git or kubectl apply.");
/// Two policies act on one object.
pub const OVERLAP: Code = error("Overlap", "Let one policy have it: two would undo what the other does.");
/// A bound that can never hold.
pub const DATA_LOSS_TIME_TOO_SHORT: Code = error(
    "DataLossTimeTooShort",
    "Raise spec.failover.promote.maxDataLoss.time to what is expected, use a faster timing profile, or set promote.after to Never.",
);
/// The profile does not fit the arbiter.
pub const TIMING_PROFILE: Code = error(
    "TimingProfile",
    "Use a slower profile, or run the arbiter's members with a shorter election timeout and say so (--arbiter-election).",
);
/// Two sites publish one address.
pub const SAME_ADDRESS: Code = warning(
    "SameAddress",
    "Give each site an address of its own, or take the entry out of traffic: moving it changes nothing for users.",
);
/// Two servers are reached at one place.
pub const SAME_REPLICATION_HOST: Code = error(
    "SameReplicationHost",
    "Give each instance the address at which the other sites reach it: a replica would follow itself.",
);
/// A Move for a policy that is not there.
pub const MOVE_WITHOUT_POLICY: Code = error(
    "MoveWithoutPolicy",
    "Correct spec.policyRef.name or the labels of policySelector, or give the policy's file too.",
);
/// A Move that names no site of its policy.
pub const MOVE_SITE: Code = error("MoveSite", "Name sites as spec.sites of the policy does.");
/// A Move whose time has passed.
pub const MOVE_EXPIRED: Code =
    warning("MoveExpired", "Remove the file, or write a new Move with another name: this one never acts.");

/// A source of policies that lies in the folder that it reads.
pub const SOURCE_IN_ITS_FOLDER: Code = warning(
    "SourceInItsFolder",
    "Put the file outside of spec.path, and apply it at every site by hand or by the tool that applies the rest.",
);

/// Bascule's kinds are not installed.
pub const DEFINITIONS_MISSING: Code =
    error("DefinitionsMissing", "Install the definitions: kubectl apply --server-side -f crds/generated/.");
/// Bascule's kinds are those of another version.
pub const DEFINITIONS_DIFFER: Code = warning(
    "DefinitionsDiffer",
    "Apply the definitions of this version: kubectl apply --server-side -f crds/generated/; or use the `bascule` of the version that is installed.",
);
/// The API server is not well.
pub const API_SERVER: Code =
    error("ApiServer", "See the API server's own checks: kubectl get --raw '/readyz?verbose'.");
/// Clocks differ.
pub const CLOCK: Code = warning(
    "Clock",
    "Let both machines keep time (chrony or systemd-timesyncd). Bascule never compares clocks to decide, but TSIG refuses after 300 s, and ages in what people read are wrong.",
);
/// The person may not do something.
pub const RIGHT_MISSING: Code =
    warning("RightMissing", "Ask for a role that allows it, or leave that command to somebody who may.");
/// The operator may not do something.
pub const OPERATOR_RIGHT_MISSING: Code =
    error("OperatorRightMissing", "Give the operator's service account that verb in the policy's namespace.");
/// The operator does not see the policy.
pub const NOT_WATCHED: Code = error(
    "NotWatched",
    "Add the namespace to the chart's watchNamespaces in every site, or bring the policy into a namespace that is watched.",
);
/// A repository is not followed.
pub const SOURCE_FAILING: Code =
    error("SourceFailing", "Correct what the source says; what was accepted last stays in force.");
/// A repository is not read on purpose.
pub const SOURCE_SUSPENDED: Code =
    info("SourceSuspended", "Set spec.suspend to false when the repository shall be followed again.");
/// No operator speaks.
pub const OPERATOR_SILENT: Code = error(
    "OperatorSilent",
    "See whether the operator runs, reaches this API server and watches this namespace (watchNamespaces of the chart); its log says what it cannot do.",
);
/// The policy that the operator judged is refused by it.
pub const POLICY_NOT_ACCEPTED: Code =
    error("PolicyNotAccepted", "Correct the policy where it comes from; what stood before stays in force.");
/// The operator does not hear the arbiter.
pub const ARBITER_UNHEARD: Code =
    error("ArbiterUnheard", "Restore this site's way to the arbiter: two of its three members must answer.");
/// A member of the arbiter does not answer here.
pub const ARBITER_MEMBER: Code = warning(
    "ArbiterMember",
    "See whether the member runs and whether its port is allowed from here; two of three are enough.",
);
/// Too few members of the arbiter answer here.
pub const ARBITER_QUORUM: Code = error(
    "ArbiterQuorum",
    "Restore members until more than half of them answer: without that no lease is renewed, and databases stop.",
);
/// Sites act by different specs.
pub const SPECS_DIFFER: Code = warning(
    "SpecsDiffer",
    "Bring the same policy to every site: until then a failover is possible, and no switchover.",
);
/// Something stands in the way of a takeover.
pub const BLOCKED: Code =
    warning("Blocked", "`bascule why` has every gate with its evidence and what would change it.");
/// A channel that leads nowhere in this site.
pub const CHANNEL_UNKNOWN: Code = warning(
    "ChannelUnknown",
    "Add the channel to notifications.channels of the chart in this site, or correct spec.notifications; until then nobody is told by it from this site.",
);
/// Which site this is cannot be known.
pub const SITE_UNKNOWN: Code = info("SiteUnknown", "Say which site's cluster this is: --site NAME.");

/// A database's StatefulSet is missing.
pub const STATEFUL_SET_MISSING: Code =
    error("StatefulSetMissing", "Create the StatefulSet in this site, or correct the name in the policy.");
/// No guard runs the server.
pub const GUARD_ABSENT: Code = error(
    "GuardAbsent",
    "Let the container's command begin with `bascule guard postgres --`: only then the server can be fenced.",
);
/// Another database operator has the server.
pub const ANOTHER_OPERATOR: Code = error(
    "AnotherOperator",
    "Name a StatefulSet that no other database operator rules: two would start and promote one server. docs/adopt.md says how a database is brought into one.",
);
/// The guard would not be the first process.
pub const SHARED_PROCESSES: Code = error(
    "SharedProcesses",
    "Take shareProcessNamespace and hostPID out of the template: the guard must be the first process of its container.",
);
/// A probe that kills a server that rightly waits.
pub const LIVENESS_PROBE: Code = warning(
    "LivenessProbe",
    "Remove the liveness probe, or let it ask the guard: it kills a server that rightly waits, and its back-off outlasts a failover.",
);
/// A workload is missing.
pub const WORKLOAD_MISSING: Code =
    error("WorkloadMissing", "Create the workload in this site, or take it out of the policy.");
/// An autoscaler has the number too.
pub const AUTOSCALER: Code = warning(
    "Autoscaler",
    "Remove the autoscaler, or leave replicas out of the policy: both set the same number.",
);
/// Data that nothing brings to the other sites.
pub const UNREPLICATED_VOLUME: Code = warning(
    "UnreplicatedVolume",
    "Move that data into the database or an object store, replicate the volume by other means, or accept that it stays behind.",
);
/// A field belongs to another controller.
pub const CONTENDED: Code = error(
    "Contended",
    "Run the lines in what is expected: they take the field from its owner, who would undo what Bascule writes.",
);
/// A write would be refused.
pub const WRITE_REFUSED: Code =
    error("WriteRefused", "See the API server's words: a missing right, a quota or an admission policy.");
/// A flag that is not there yet.
pub const FLAG_MISSING: Code = warning(
    "FlagMissing",
    "Create the object with the key, so that the pods start with a flag; otherwise Bascule makes it.",
);
/// A flag that has neither of its two values.
pub const FLAG_VALUE: Code =
    warning("FlagValue", "Give the key one of the two values that the policy names.");
/// A flag that can never change.
pub const FLAG_IMMUTABLE: Code = error("FlagImmutable", "Make the object anew without immutable: true.");
/// A Secret is missing.
pub const SECRET_MISSING: Code = error("SecretMissing", "Create the Secret in the policy's namespace.");
/// A Secret lacks a key, or it cannot be used.
pub const SECRET_UNUSABLE: Code = error("SecretUnusable", "Correct the Secret as what is found says.");

/// A name server does not answer here.
pub const DNS_SERVER_UNREACHABLE: Code = warning(
    "DnsServerUnreachable",
    "Is it running, and are UDP and TCP allowed? From here that may be right, from the operator it must answer.",
);
/// A server without the zone.
pub const DNS_NOT_AUTHORITATIVE: Code =
    error("DnsNotAuthoritative", "Name a server that has the zone, not a resolver.");
/// A key that the server does not know.
pub const DNS_KEY_REFUSED: Code = error(
    "DnsKeyRefused",
    "Compare name, algorithm and secret of the key with the server's, and the clocks.",
);
/// A key that may not change the names.
pub const DNS_UPDATE_REFUSED: Code = error("DnsUpdateRefused", "Let this key update these names and types.");
/// A server that would let an old change overwrite a new one.
pub const DNS_PREREQUISITES_IGNORED: Code = error(
    "DnsPrerequisitesIgnored",
    "Do not use this server: nothing keeps an old change from overwriting a new one.",
);
/// The name is an alias.
pub const DNS_ALIAS: Code = error("DnsAlias", "Take the CNAME away: addresses cannot stand beside it.");
/// Another policy's mark.
pub const DNS_FOREIGN_MARK: Code =
    error("DnsForeignMark", "Find out who else publishes this name; a name belongs to one policy.");
/// Resolvers keep old addresses for longer than the policy thinks.
pub const DNS_TTL_LONGER: Code =
    warning("DnsTtlLonger", "Wait for the first change, which sets it, or set it by hand.");
/// The zone's name servers cannot be told.
pub const DNS_NAME_SERVERS: Code =
    error("DnsNameServers", "Name verifyServers in the policy, or correct the zone's NS records.");
/// The cluster does not know HTTPRoutes.
pub const ROUTE_API_MISSING: Code =
    error("RouteApiMissing", "Install the Gateway API's definitions and a gateway controller, or use dns.");
/// The route is not there.
pub const ROUTE_MISSING: Code =
    error("RouteMissing", "Create the HTTPRoute in this site, or correct traffic[].httpRoute.name.");
/// The operator may not change routes.
pub const ROUTE_FORBIDDEN: Code = error("RouteForbidden", "Install the chart with rbac.httpRoutes=true.");
/// A rule is not there.
pub const ROUTE_RULE_MISSING: Code =
    error("RouteRuleMissing", "Name the rule in the route, or correct traffic[].httpRoute.rules.");
/// A site has no backend in a rule.
pub const ROUTE_BACKEND_MISSING: Code =
    error("RouteBackendMissing", "Give each rule the backend of every site once; weight 0 will do at first.");
/// A backend that the policy does not name has a weight.
pub const ROUTE_FOREIGN_BACKEND: Code =
    error("RouteForeignBackend", "Name it in the policy, give it weight 0, or take it out of the rule.");
/// Another policy's mark.
pub const ROUTE_FOREIGN_MARK: Code = error(
    "RouteForeignMark",
    "Find out who else points this route; a route belongs to one entry of one policy.",
);
/// The API server would not take a change.
pub const ROUTE_PATCH_REFUSED: Code =
    error("RoutePatchRefused", "See the admission policies of the namespace.");
/// Somebody sets the weights back.
pub const ROUTE_CONTENDED: Code =
    error("RouteContended", "Write the lines that are told where the other manager gets the route from.");
/// Somebody applies the rules.
pub const ROUTE_OWNED: Code = warning(
    "RouteOwned",
    "Write the lines that are told, unless they are there: nobody can see that from the cluster.",
);
/// A gateway does not serve the route.
pub const ROUTE_NOT_SERVED: Code =
    error("RouteNotServed", "See the Gateway, its listeners and the Services of the route.");
/// A gateway says nothing of the route.
pub const ROUTE_UNREPORTED: Code = warning("RouteUnreported", "See whether the Gateway's controller runs.");
/// A Gateway says that it is not ready.
pub const ROUTE_GATEWAY_NOT_READY: Code = warning(
    "RouteGatewayNotReady",
    "See the Gateway's conditions and addresses, and whether its proxies run.",
);
/// A Gateway says nothing of itself.
pub const ROUTE_GATEWAY_UNKNOWN: Code = warning(
    "RouteGatewayUnknown",
    "See whether the Gateway's controller runs, and whether the Gateway may be read.",
);
/// Changes of the route are not seen at once.
pub const ROUTE_UNWATCHED: Code =
    warning("RouteUnwatched", "Let the operator list and watch httproutes: rbac.httpRoutes=true.");
/// Writes reach the application during a hold although they shall not.
pub const ROUTE_WRITES_PASS: Code = warning(
    "RouteWritesPass",
    "Name the rules that stand in the way, or except them; docs/httproute.md has the limits.",
);
/// There is no responder.
pub const ROUTE_RESPONDER_MISSING: Code =
    warning("RouteResponderMissing", "Install the chart with responder.enabled=true in every site.");
/// The responder's namespace does not let the route lead there.
pub const ROUTE_RESPONDER_GRANT: Code =
    warning("RouteResponderGrant", "Add the policy's namespace to responder.namespaces of the chart.");
/// Whether the responder can be reached is not known.
pub const ROUTE_RESPONDER_UNKNOWN: Code = warning(
    "RouteResponderUnknown",
    "See the API server, and whether Services and ReferenceGrants of the operator's namespace may be read.",
);
/// A server by which a change is verified does not answer here.
pub const DNS_VERIFY_SERVER: Code = warning(
    "DnsVerifyServer",
    "A change is complete only when this server shows it: correct it, or take it out of verifyServers.",
);

/// Before an installation: nobody answers, or nobody that knows who asks.
pub const API_SERVER_UNREACHABLE: Code = error(
    "ApiServerUnreachable",
    "Is it the right context, does that cluster live, and is there a way to it from here? Log in again where the credentials are too old.",
);
/// Before an installation: a cluster that is too old.
pub const KUBERNETES_VERSION: Code = error(
    "KubernetesVersion",
    "Upgrade the cluster first: the definitions' rules and the chart need a newer Kubernetes.",
);
/// Before an installation: two sites in one cluster.
pub const SAME_CLUSTER: Code =
    error("SameCluster", "Name a context of another cluster: two sites in one cluster are lost together.");
/// Before an installation: the person may not make what the chart makes.
pub const INSTALL_RIGHT_MISSING: Code = error(
    "InstallRightMissing",
    "Ask for the right, or let somebody install the chart who has it (usually a cluster administrator).",
);
/// Before an installation: the operator's pod would not be admitted.
pub const POD_REFUSED: Code = error(
    "PodRefused",
    "Change the admission policy, quota or label of that namespace that is named in what is found, or install into another one.",
);
/// Before an installation: the journal's volume would never be made.
pub const NO_DEFAULT_STORAGE_CLASS: Code = warning(
    "NoDefaultStorageClass",
    "Mark a StorageClass as the default, or name one in the chart's journal.persistence.storageClass.",
);
/// Before an installation: a site's name that another cluster has.
pub const SITE_NAME_TAKEN: Code = error(
    "SiteNameTaken",
    "Choose another name for this site, or give the old cluster up for good first: an operator refuses a name that another cluster holds.",
);
/// Before an installation: members of which a majority is no better than fewer.
pub const ARBITER_SIZE: Code =
    error("ArbiterSize", "Name every member; an arbiter has three, or five, each in a place of its own.");
/// Before an installation: an arbiter that is too far away for the profile.
pub const ARBITER_SLOW: Code = warning(
    "ArbiterSlow",
    "Measure again from the sites; if it is so there too, use a slower timing profile in all sites, or bring that member nearer.",
);
/// Before an installation: members whose reads may be old.
pub const ARBITER_VERSION: Code =
    error("ArbiterVersion", "Upgrade that member: an operator refuses to rely on it.");

/// The witness lets through what nobody may do.
pub const WITNESS_UNRULED: Code = error(
    "WitnessUnruled",
    "Install or upgrade the chart bascule-witness there: without its admission policies the token of one site may make another site's lease, and an epoch may fall.",
);

/// Something could not be looked at.
pub const NOT_CHECKED: Code =
    info("NotChecked", "Ask again with the rights, or from a place, that allow it.");

/// All of them.
pub const ALL: &[Code] = &[
    FILE_INVALID,
    POLICY_INVALID,
    OVERLAP,
    DATA_LOSS_TIME_TOO_SHORT,
    TIMING_PROFILE,
    SAME_ADDRESS,
    SAME_REPLICATION_HOST,
    MOVE_WITHOUT_POLICY,
    MOVE_SITE,
    MOVE_EXPIRED,
    SOURCE_IN_ITS_FOLDER,
    DEFINITIONS_MISSING,
    DEFINITIONS_DIFFER,
    API_SERVER,
    CLOCK,
    RIGHT_MISSING,
    OPERATOR_RIGHT_MISSING,
    NOT_WATCHED,
    SOURCE_FAILING,
    SOURCE_SUSPENDED,
    OPERATOR_SILENT,
    POLICY_NOT_ACCEPTED,
    ARBITER_UNHEARD,
    ARBITER_MEMBER,
    ARBITER_QUORUM,
    SPECS_DIFFER,
    BLOCKED,
    CHANNEL_UNKNOWN,
    SITE_UNKNOWN,
    STATEFUL_SET_MISSING,
    GUARD_ABSENT,
    ANOTHER_OPERATOR,
    SHARED_PROCESSES,
    LIVENESS_PROBE,
    WORKLOAD_MISSING,
    AUTOSCALER,
    UNREPLICATED_VOLUME,
    CONTENDED,
    WRITE_REFUSED,
    FLAG_MISSING,
    FLAG_VALUE,
    FLAG_IMMUTABLE,
    SECRET_MISSING,
    SECRET_UNUSABLE,
    DNS_SERVER_UNREACHABLE,
    DNS_NOT_AUTHORITATIVE,
    DNS_KEY_REFUSED,
    DNS_UPDATE_REFUSED,
    DNS_PREREQUISITES_IGNORED,
    DNS_ALIAS,
    DNS_FOREIGN_MARK,
    DNS_TTL_LONGER,
    DNS_NAME_SERVERS,
    DNS_VERIFY_SERVER,
    ROUTE_API_MISSING,
    ROUTE_MISSING,
    ROUTE_FORBIDDEN,
    ROUTE_RULE_MISSING,
    ROUTE_BACKEND_MISSING,
    ROUTE_FOREIGN_BACKEND,
    ROUTE_FOREIGN_MARK,
    ROUTE_PATCH_REFUSED,
    ROUTE_CONTENDED,
    ROUTE_OWNED,
    ROUTE_NOT_SERVED,
    ROUTE_UNREPORTED,
    ROUTE_GATEWAY_NOT_READY,
    ROUTE_GATEWAY_UNKNOWN,
    ROUTE_UNWATCHED,
    ROUTE_WRITES_PASS,
    ROUTE_RESPONDER_MISSING,
    ROUTE_RESPONDER_GRANT,
    ROUTE_RESPONDER_UNKNOWN,
    API_SERVER_UNREACHABLE,
    KUBERNETES_VERSION,
    SAME_CLUSTER,
    INSTALL_RIGHT_MISSING,
    POD_REFUSED,
    NO_DEFAULT_STORAGE_CLASS,
    SITE_NAME_TAKEN,
    ARBITER_SIZE,
    ARBITER_SLOW,
    ARBITER_VERSION,
    WITNESS_UNRULED,
    NOT_CHECKED,
];

/// The code of this name.
pub fn of(name: &str) -> Option<Code> {
    ALL.iter().find(|code| code.name == name).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/checks.md");

    fn documented() -> Vec<&'static str> {
        PAGE.lines().filter_map(|line| line.strip_prefix("### ")).collect()
    }

    #[test]
    fn every_code_has_a_section_and_every_section_has_a_code() {
        let names: Vec<&str> = ALL.iter().map(|code| code.name).collect();
        assert_eq!(documented(), names, "docs/checks.md has a section for each code, in their order");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name means one thing");
    }

    #[test]
    fn a_section_says_how_much_it_matters_and_what_to_do() {
        for code in ALL {
            let section = PAGE.split(&format!("### {}\n", code.name)).nth(1).unwrap();
            let section = section.split("\n### ").next().unwrap();
            assert!(
                section.trim_start().starts_with(&format!("*{}*", code.severity.name())),
                "{}",
                code.name
            );
            assert!(section.split_whitespace().count() > 15, "{} says too little", code.name);
            assert!(code.hint.ends_with('.') || code.hint.ends_with(".."), "{}", code.name);
        }
    }

    #[test]
    fn what_is_found_about_a_route_has_a_code() {
        let sources = [
            include_str!("../../adapters/src/kube/route/look.rs"),
            include_str!("../../adapters/src/kube/route/seen.rs"),
        ];
        let said: BTreeSet<&str> = sources
            .iter()
            .flat_map(|source| source.split('"'))
            .filter(|word| word.starts_with("Route") && word.chars().all(char::is_alphanumeric))
            .collect();
        assert!(said.len() >= 12, "{said:?}");
        for word in said {
            assert!(of(word).is_some(), "{word} has no code");
        }
    }

    #[test]
    fn what_the_name_servers_are_asked_has_a_code_for_every_answer() {
        let source = include_str!("../../adapters/src/dns/preflight.rs");
        let product = source.split("#[cfg(test)]").next().unwrap();
        let said: BTreeSet<&str> = product
            .split('"')
            .filter(|word| word.starts_with("Dns") && word.chars().all(char::is_alphanumeric))
            .collect();
        assert!(said.len() >= 10, "{said:?}");
        for word in said {
            assert!(of(word).is_some(), "{word} has no code");
        }
    }
}
