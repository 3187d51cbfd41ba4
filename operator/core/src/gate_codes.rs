//! Every gate by its stable name, with what a person can do to change its answer.
//!
//! The names are those that the rules and the adapters give to their gates; a test reads their sources and fails when
//! one of them is not here.

/// A gate's name with what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateCode {
    /// The name, with `*` where it says which of several: `database/*/disk`.
    pub pattern: &'static str,
    /// What an answer other than yes means while all is well.
    pub kind: Kind,
    /// What would change the answer, for the person who must act.
    pub change: &'static str,
}

/// What a gate asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the time has come, or whose decision it is: while the active site serves, an answer other than yes is as
    /// it should be.
    Moment,
    /// Whether something is as it must be: an answer other than yes is in the way whenever it is given.
    State,
}

const fn moment(pattern: &'static str, change: &'static str) -> GateCode {
    GateCode { pattern, kind: Kind::Moment, change }
}

const fn state(pattern: &'static str, change: &'static str) -> GateCode {
    GateCode { pattern, kind: Kind::State, change }
}

const IN_ORDER: &str =
    "Nothing yet: this is a step of what is under way. When it lasts, read what was found.";
const SETTING: &str = "Run the statement that stands in what is needed, on the database of each site, for the roles change places; some settings need a restart of the server.";
const GRANT: &str = "Run the GRANT that stands in what is needed as a superuser on the primary; the replica has it by itself.";
const SESSION: &str = "Let the operator's role into the server: what is needed says which role, database and address. See the server's log and its pod when it does not answer at all.";
const DNS: &str = "Correct the name server or the policy's dns entry as what is needed says; it is asked again within seconds.";
const ROUTE: &str = "Correct the HTTPRoute, the policy's httpRoute entry or the operator's rights as what is needed says; the route is looked at again within seconds.";
const ADVICE: &str = "Nothing has to change for a takeover; what is needed says what would be better.";

/// Every gate. The order is that of the questions: what holds for all first, then the transitions, then what a site
/// consists of.
pub const ALL: &[GateCode] = &[
    // The record and the arbiter.
    state(
        "arbiter",
        "Find out why the arbiter knows less than this site: is it another arbiter than before (--arbiter-endpoints), or was it restored from a backup or emptied? Nothing is written or taken until it is as new as what this site has seen. If what it has lost is lost for good, raise arbiter.generation in the values of all sites: the records are made anew then, and everybody keeps his role.",
    ),
    state(
        "anew/role",
        "Let the site that has seen most of the record come back: it makes the record anew. Its operator needs the raised arbiter.generation as well.",
    ),
    state(
        "anew/site/*",
        "Wait: a record is made anew when every other site has said what it has seen of it, or has been silent for long enough.",
    ),
    state("arbiter/unreadable", "Bring the operators of all sites to the same version."),
    state("schema", "Upgrade this site's operator to the version of the site that wrote the record."),
    state(
        "marks",
        "Let the operator keep its high-water marks: its log says why the ConfigMap in its own namespace cannot be read or written (rights, quota, API server).",
    ),
    state(
        "claim",
        "Wait: this site takes its role up again with its next write to the arbiter. When it lasts, the operator's log says why that write does not succeed.",
    ),
    state(
        "claim/seen",
        "Wait: the record is read again. When it then still says less than was seen, the arbiter was restored, and it is refused.",
    ),
    state(
        "claim/marks",
        "Wait: what this site has written down of the record is read again before it takes a role or claims its own anew. When it cannot be read, it goes on after R.",
    ),
    state(
        "claim/guard",
        "Wait: this site is back, and its guards are heard before it believes the arbiter. When it lasts, see why the pod of that database does not run or does not reach its operator.",
    ),
    state(
        "claim/sites",
        "Wait: this site was away, and the others are heard before it believes the arbiter. It goes on when they answer, when their leases are silent for L, or after twice L.",
    ),
    state(
        "ownLease",
        "Restore this site's own way to the arbiter: the operator's log says which member does not answer. A site that cannot renew its lease takes nothing.",
    ),
    // Whether the policy is managed here.
    state(
        "site",
        "Put this site back into spec.sites, and move the role away by a Switchover before it is removed.",
    ),
    state("suspend", "Set spec.suspend to false."),
    state("phase", "Wait for the end of the transition, or set spec.suspend to false."),
    state(
        "deadline",
        "Wait until every guard has asked the operator again, which takes seconds; a guard that is named for longer is not connected: see its pod.",
    ),
    state(
        "timing",
        "Wait until every guard has heard of the new timing and the old one has run out; a guard that does not connect holds it up: see its pod.",
    ),
    // The first record.
    moment(
        "initialSite",
        "See `bascule why` at the initial site: it creates the record, and says there what it waits for. If the database lives elsewhere, correct spec.initialSite.",
    ),
    state(
        "site/*",
        "See that the operator of that site runs, reaches the arbiter and has this policy (kubectl get fop there): it answers by itself.",
    ),
    state(
        "site/*/spec",
        "Bring the same policy to every site; the status of each shows the revision that it has.",
    ),
    state(
        "site/*/database/*",
        "At that site: start the database's pod so that its guard connects, or correct what lies on its disk. A replica of this primary or an empty disk is right; a second primary must be removed by a person.",
    ),
    // May another site take over?
    moment(
        "silence",
        "Nothing, as long as the active site lives: to move its role now use a Move of type Switchover. When it is dead, this changes by itself once its lease has been seen unchanged for the time that is needed.",
    ),
    moment(
        "serveReads",
        "Decide now by a Move of type Failover (examples/move-failover.yaml), or wait: it happens by itself after spec.failover.serveReads.after, unless that is Never.",
    ),
    moment(
        "promise",
        "Make sure that the active site's database is stopped and stays stopped, then say so by a Move of type Failover with sourceStopped and the serial that is shown (examples/move-failover.yaml). Fences of class Guard make that unnecessary.",
    ),
    state("hold", "Wait for the end of the hold, or end it by a Move of type Resume."),
    moment(
        "cooldown",
        "Wait, or decide now by a Move of type Failover, which does not wait for it; spec.failover.cooldown says how long.",
    ),
    moment(
        "promote",
        "Decide now by a Move of type Failover (examples/move-failover.yaml), or wait: it happens by itself after spec.failover.promote.after, unless that is Never.",
    ),
    state(
        "veto",
        "Find the server that still sends to this replica and stop it: something writes there without a guard. Stop only what you are sure of; its connections are in pg_stat_wal_receiver of this replica.",
    ),
    state(
        "loss",
        "When a site is lost: bring it back, and nothing is lost; or accept what is at risk by a Move of type Failover with acceptDataLoss. Before that: spec.failover.promote.maxDataLoss says how much may be lost.",
    ),
    state(
        "target",
        "See why the target does not act: `bascule why` there, or its operator when that does not answer. Another site acts once the target is silent too.",
    ),
    moment(
        "turn",
        "Nothing: of several sites the one that loses least takes the role, of equals the first in spec.sites. It is waited for as long as a site's silence takes, and no longer; `bascule why` there says what keeps it.",
    ),
    // A planned switchover.
    state("targetReady", "See `bascule why` at the target: it says there what it waits for."),
    state("spec", "Bring the same policy to both sites; the status of each shows the revision that it has."),
    state(
        "readOnly",
        "See the pods that have not answered read-only: do they run, do they read the flag, and does verify ask the right path? The switchover is rolled back at spec.failover.switchoverDeadline.",
    ),
    state(
        "writesRefused",
        "Wait: it goes on after five seconds, and the application answers writes by itself then. See the gateway's controller when it has not taken up the route, and the advice in the status when writes cannot be refused.",
    ),
    state("checkpoint", "Wait: it takes as long as the disk needs for what is not written yet."),
    state("stopped", IN_ORDER),
    state(
        "handover",
        "See `bascule why` at the target. The role goes back by itself when the target does not take it.",
    ),
    state(
        "proof",
        "Wait for the replica to replay the last log. When it stands still, its log says why; the role goes back by itself.",
    ),
    state(
        "database/*/closed",
        "Wait: the replica's sessions are being ended. When it lasts, the journal of its guard says why.",
    ),
    state(
        "database/*/streaming",
        "See why the replica does not stream: its log, the replication Secret, replicationHost and the slot at the active site.",
    ),
    state(
        "database/*/lag",
        "Wait until the replica has caught up, or make less load; the disk and the link between the sites are the usual reasons.",
    ),
    state(
        "workload/*/ready",
        "See why its pods at the target are not ready: image, quota, room on the nodes (kubectl describe).",
    ),
    moment(
        "move/*",
        "What is found says when or by whom it is decided; another decision is another Move, or this one deleted while it is pending.",
    ),
    // A dead database, its offer, its guard.
    state(
        "database",
        "See why the server ended: the journal of its guard and the server's log (kubectl logs of its pod). It is started again here, or offered to a site that can take it, as the other gates allow.",
    ),
    state("taker", "See `bascule why` at the other site: it says there what keeps it from taking the role."),
    state(
        "offer",
        "See `bascule why` at the other sites: one of them takes the role, or it goes back by itself.",
    ),
    state(
        "locked",
        "See the pod of the guard that has not confirmed: does it run, and does it reach the operator? It locks by itself when its grant runs out.",
    ),
    state(
        "withdrawal",
        "Wait: nobody may take the role before what was granted has run out. When the guard returns earlier, the role stays.",
    ),
    state(
        "server",
        "Connect the guard again: its database answers, so it lives and only its way to the operator is broken (certificates, port 7443, a network policy).",
    ),
    state(
        "database/*/guard",
        "Start the database's pod, or repair its guard's way to the operator: its log says whether the name, the port or a certificate is wrong.",
    ),
    state(
        "database/*/witness",
        "Wait until the grants of earlier guard processes have run out. A guard that lies on another disk than the database's own must go: give the pod its volume back.",
    ),
    // The end of a transition.
    state(
        "open",
        "See what keeps the database from opening: the journal of its guard and the server's log (kubectl logs of its pod).",
    ),
    state(
        "promotion",
        "See why the promotion failed: the journal of its guard and the server's log. The role is offered back to the site that it came from.",
    ),
    state(
        "write",
        "See why the operator's role cannot write there: the operator's log names the error of the server.",
    ),
    state(
        "traffic",
        "See the name servers or gateways that still lead to another site; the transition ends without them after a while, and they are told again.",
    ),
    state(
        "readWrite",
        "See who holds the read-only flag: the condition Contended and the operator's log say why it is not cleared.",
    ),
    state(
        "stable",
        "Wait until the site that came back has been stable for spec.failover.serveReads.returnAfter.",
    ),
    // Databases, as a site has them.
    state(
        "database/*",
        "Repair what was found: the disk, the guard or the Secret of this database; or correct its entry in the policy.",
    ),
    state("database/*/instance", "Give the database an instance for this site in spec.databases."),
    state(
        "database/*/server",
        "See why the replica does not run: the journal of its guard and the server's log (kubectl logs of its pod).",
    ),
    state(
        "database/*/replica",
        "See why no replica runs here: the pod of its StatefulSet, its guard's journal, its log.",
    ),
    state(
        "database/*/disk",
        "Give the guard a data directory that it can read, of a PostgreSQL version that was tested; what is found says what is wrong with it.",
    ),
    state("database/*/preflight", SESSION),
    state(
        "database/*/identity",
        "Correct the host of this site's instance in the policy, or the Service behind it: it leads to another database than the one on this site's disk.",
    ),
    state(
        "database/*/unlocked",
        "Give the database back when Bascule is to care for it again: bascule guard lock, in its container. Until then it stops for nobody, and only a person can say that it is off.",
    ),
    state(
        "database/*/twoWriters",
        "Act now: see whether this server takes writes, and stop it if it does; its guard's journal says why it runs as a primary.",
    ),
    state(
        "database/*/upstream/*",
        "Repair what was found, before the address or the password changes: until then the last known one is used.",
    ),
    state(
        "database/*/pod",
        "Let the operator read the pods of the policy's namespace; see its rights and the API server.",
    ),
    state(
        "database/*/pod/sharedProcessNamespace",
        "Take shareProcessNamespace and hostPID out of the StatefulSet's template: the guard must be the first process of its container.",
    ),
    state(
        "database/*/pod/anotherOperator",
        "Name a StatefulSet that no other database operator rules: two would start and promote one server. docs/adopt.md says how a database is brought into one.",
    ),
    state("database/*/pod/livenessProbe", ADVICE),
    state("database/*/pod/node", ADVICE),
    state("database/*/ConnectUnreachable", SESSION),
    state("database/*/ConnectTimeout", SESSION),
    state("database/*/ConnectNotReady", SESSION),
    state("database/*/ConnectTls", SESSION),
    state("database/*/ConnectPassword", SESSION),
    state("database/*/ConnectNotAllowed", SESSION),
    state("database/*/ConnectNoDatabase", SESSION),
    state("database/*/ConnectTooMany", SESSION),
    state("database/*/ConnectFailed", SESSION),
    state("database/*/Unanswered", SESSION),
    state("database/*/Version", "Use a version of PostgreSQL that was tested; what is needed names them."),
    state("database/*/Role", "See whether the host of this site's instance leads to the right server."),
    state("database/*/MissingGrant", GRANT),
    state("database/*/RoleTooStrong", ADVICE),
    state("database/*/WalLevel", SETTING),
    state("database/*/RewindImpossible", SETTING),
    state("database/*/MaxWalSenders", SETTING),
    state("database/*/MaxReplicationSlots", SETTING),
    state("database/*/MaxSlotWalKeepSize", SETTING),
    state("database/*/WalKeepSize", SETTING),
    state("database/*/WalReceiverTimeout", SETTING),
    state("database/*/WalSenderTimeout", SETTING),
    state("database/*/WalReceiverStatusInterval", SETTING),
    state("database/*/WalRetrieveRetryInterval", SETTING),
    state("database/*/HotStandby", SETTING),
    state("database/*/RecoveryMinApplyDelay", SETTING),
    state("database/*/RecoveryTargetTimeline", SETTING),
    state("database/*/MaxStandbyStreamingDelay", SETTING),
    state("database/*/PrimarySlotName", SETTING),
    state("database/*/Fsync", SETTING),
    state("database/*/FullPageWrites", SETTING),
    state("database/*/SynchronousCommit", SETTING),
    state("database/*/SynchronousStandbyNames", SETTING),
    state("database/*/ArchiveMode", SETTING),
    state("database/*/ListenAddresses", SETTING),
    state("database/*/DefaultReadOnly", SETTING),
    // Workloads and traffic, as a site has them.
    state(
        "workload/*",
        "See why this workload could not be looked at: the operator's rights in the policy's namespace, and the API server.",
    ),
    state("workload/*/exists", "Create the workload in this site, or take it out of the policy."),
    state(
        "workload/*/readOnlyFlag",
        "Let the operator write the flag: what is found has the API server's words (a missing ConfigMap or right, an admission policy).",
    ),
    state(
        "workload/*/replicas",
        "Let the operator scale the workload: what is found has the API server's words (a missing right, a quota, an admission policy).",
    ),
    state(
        "workload/*/serving",
        "See why its pods are not ready (kubectl describe); users are sent here without them when the time that is needed has passed.",
    ),
    state(
        "contended/*/readOnlyFlag",
        "Run the lines that stand in what is needed: they take the field from its owner, who would undo what Bascule writes.",
    ),
    state(
        "contended/*/replicas",
        "Run the lines that stand in what is needed: they take the field from its owner, who would undo what Bascule writes.",
    ),
    state(
        "traffic/*",
        "Correct the policy's entry or its Secret as what is found says; a server that does not answer is asked again within seconds.",
    ),
    state("traffic/*/DnsServerUnreachable", DNS),
    state("traffic/*/DnsNotAuthoritative", DNS),
    state("traffic/*/DnsKeyRefused", DNS),
    state("traffic/*/DnsUpdateRefused", DNS),
    state("traffic/*/DnsPrerequisitesIgnored", DNS),
    state("traffic/*/DnsAlias", DNS),
    state("traffic/*/DnsForeignMark", DNS),
    state("traffic/*/DnsTtlLonger", ADVICE),
    state("traffic/*/DnsNameServers", DNS),
    state("traffic/*/DnsVerifyServer", ADVICE),
    state("traffic/*/RouteApiMissing", ROUTE),
    state("traffic/*/RouteMissing", ROUTE),
    state("traffic/*/RouteForbidden", ROUTE),
    state("traffic/*/RouteRuleMissing", ROUTE),
    state("traffic/*/RouteBackendMissing", ROUTE),
    state("traffic/*/RouteForeignBackend", ROUTE),
    state("traffic/*/RouteForeignMark", ROUTE),
    state("traffic/*/RoutePatchRefused", ROUTE),
    state(
        "traffic/*/RouteContended",
        "Write the lines that stand in what is needed where the other manager gets the route from; the weights are written again each time, and for two hours after the last time this stands in the way.",
    ),
    state("traffic/*/RouteOwned", ADVICE),
    state(
        "traffic/*/RouteNotServed",
        "See the Gateway, its listeners and the Services of the route: what is found has the controller's own words.",
    ),
    state("traffic/*/RouteUnreported", ADVICE),
    state("traffic/*/RouteGatewayNotReady", ADVICE),
    state("traffic/*/RouteGatewayUnknown", ADVICE),
    state("traffic/*/RouteUnwatched", ADVICE),
    state("traffic/*/RouteWritesPass", ADVICE),
    state("traffic/*/RouteResponderMissing", ADVICE),
    state("traffic/*/RouteResponderGrant", ADVICE),
    state("traffic/*/RouteResponderUnknown", ADVICE),
];

/// The code of the gate `name`; `None` for a name that this version does not give.
pub fn of(name: &str) -> Option<&'static GateCode> {
    ALL.iter().find(|code| fits(code.pattern, name))
}

fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('/'), name.split('/'));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some(p), Some(n)) if p == n || (p == "*" && !n.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_found_by_its_name_whatever_it_is_about() {
        let pattern = |name: &str| of(name).map(|code| code.pattern);
        assert_eq!(pattern("silence"), Some("silence"));
        assert_eq!(pattern("database"), Some("database"));
        assert_eq!(pattern("database/main"), Some("database/*"));
        assert_eq!(pattern("database/main/disk"), Some("database/*/disk"));
        assert_eq!(pattern("site/lyon/database/main"), Some("site/*/database/*"));
        assert_eq!(pattern("move/2026-11-28-paris-kernel"), Some("move/*"));
        for unknown in ["", "Silence", "database/", "database/main/x", "database/main/disk/x"] {
            assert_eq!(pattern(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn every_gate_is_on_its_page_with_what_to_do() {
        let row = |code: &GateCode| format!("| `{}` | {:?} | {} |", code.pattern, code.kind, code.change);
        let wanted: Vec<String> = ALL.iter().map(row).collect();
        let page = include_str!("../../../docs/gates.md");
        let found: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(found, wanted, "docs/gates.md");
        }
        assert_eq!(found.len(), wanted.len(), "docs/gates.md has a row for each gate, in their order");
    }

    #[test]
    fn every_code_is_there_once_with_a_sentence() {
        for (n, code) in ALL.iter().enumerate() {
            let before = ALL[..n].iter().find(|c| fits(c.pattern, code.pattern));
            assert_eq!(before, None, "{} is hidden", code.pattern);
            assert!(
                code.change.ends_with('.') && code.change.len() > 20,
                "{}: {:?}",
                code.pattern,
                code.change
            );
        }
    }
}
