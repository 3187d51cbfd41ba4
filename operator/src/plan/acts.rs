//! What happens to one policy, each act at its time: rehearsed by the operators' own code.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use bascule_core::gate_codes::{self, Kind as GateKind};
use bascule_core::moves::{Move, MoveEnd, Verdict};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Policy;
use bascule_core::record::{Cause, Phase};
use bascule_core::time::Millis;
use bascule_crds::FailoverPolicy;
use bascule_engine::intake::policy;
use bascule_sim::deed::{Before as Was, Deed, Doing, End};
use bascule_sim::rehearsal::{ASSUMED_REPLICAS, After, Change as Merged, Rehearsed, Standing, rehearse};
use jiff::Timestamp;

use super::live::Live;
use super::state::{Before, Case};
use super::told::{Act, Change, Expected, MovePlan, PolicyPlan, Step};
use super::words::{self, Known};
use super::{Asked, later, risk, stands};
use crate::telling::Progress;
use crate::why::explain::{Answer as Found, Finding};

/// The plan of one policy.
pub fn plan(case: &Case, before: &Before, asked: &Asked) -> anyhow::Result<PolicyPlan> {
    let was = case.before.as_ref().map(|o| core(o, &case.key)).transpose()?;
    let is = case.after.as_ref().map(|o| core(o, &case.key)).transpose()?;
    let live = before.live.get(&case.key);
    let times = times(&case.moves, asked.at);
    let first: Vec<Move> = times.iter().flat_map(|(_, moves)| moves.clone()).collect();
    let no_record = live.is_some_and(|l| l.status.phase.as_deref() == Some("NoRecord"));
    let in_force = was.as_ref().filter(|_| !no_record);
    let stands::Stands { mut standing, now, told, mut unknown } =
        stands::of(case, in_force, &first, live, asked)?;
    let mut acts = Vec::new();
    let mut notes = case.notes.clone();
    let mut progress = Progress::of(&case.key.to_string());
    for (begins, moves) in times {
        let policy = match (case.change, acts.is_empty(), &is) {
            (Change::Removed, true, _) => After::Gone,
            (Change::New | Change::Changed, true, Some(is)) => After::Becomes(Box::new(is.clone())),
            (_, true, Some(is)) if no_record => After::Becomes(Box::new(is.clone())),
            _ => After::Same,
        };
        if begins.is_none() && moves.is_empty() && case.change == Change::None {
            continue;
        }
        standing.wall = begins.map_or(asked.at, |t| t.max(asked.at));
        let changes = !matches!(policy, After::Same);
        let merged = Merged { policy, moves };
        let mut watch =
            |at: Duration| progress.is_at(&format!("{} rehearsed", bascule_core::time::human(at)));
        let done = match rehearse(&standing, &merged, &mut watch) {
            Ok(done) => done,
            // Where nobody was asked it is the assumption that does not hold.
            Err(why) if !told && !merged.moves.is_empty() => {
                acts.push(cannot_be(begins, &merged.moves, &why.to_string()));
                break;
            }
            Err(why) => return Err(why).with_context(|| case.key.to_string()),
        };
        let Some(policy) = is.as_ref().or(was.as_ref()) else { continue };
        let view = View { case, policy, live, standing: &standing, told };
        acts.push(view.act(begins, changes, &done));
        if done.goes_on {
            notes.push("It was not over when the rehearsal ended; what comes later depends on how it ends and is not planned.".to_owned());
            break;
        }
        go_on(&mut standing, is.as_ref(), &done);
    }
    progress.ends();
    if acts.is_empty() {
        // Nothing is merged that could act: what stands in the way of it is said all the same.
        if let Some(policy) = is.as_ref().or(was.as_ref()) {
            let view = View { case, policy, live, standing: &standing, told };
            let act = view.act(None, false, &idle());
            if !act.blockers.is_empty() {
                acts.push(act);
            }
        }
    }
    if case.change == Change::Changed && acts.iter().any(begins_database) {
        unknown.push(stands::DISKS.to_owned());
    }
    unknown.extend(not_asked(case, &acts, was.as_ref(), is.as_ref(), live, asked));
    Ok(PolicyPlan {
        policy: case.key.to_string(),
        change: case.change,
        fields: case.fields.clone(),
        let_go: let_go(was.as_ref(), is.as_ref(), case.change),
        if_lost: later::compare(case, was.as_ref(), is.as_ref(), &standing, asked)?,
        now,
        acts,
        unknown,
        notes,
    })
}

/// Whether a database is taken up that the policy did not have in that site.
fn begins_database(act: &Act) -> bool {
    act.objects.iter().any(|o| o.what.starts_with("database ") && o.old.is_none())
}

fn core(object: &FailoverPolicy, key: &PolicyKey) -> anyhow::Result<Policy> {
    policy::convert(object, None).with_context(|| key.to_string())
}

/// The Moves by the times before which they do not act; the first entry is what can act at once.
fn times(moves: &[Move], at: Timestamp) -> Vec<(Option<Timestamp>, Vec<Move>)> {
    let mut by_time: BTreeMap<Option<Timestamp>, Vec<Move>> = BTreeMap::new();
    by_time.insert(None, Vec::new());
    for mv in moves {
        by_time.entry(mv.not_before.filter(|t| *t > at)).or_default().push(mv.clone());
    }
    by_time.into_iter().collect()
}

/// An act that cannot be as it is assumed.
fn cannot_be(begins: Option<Timestamp>, moves: &[Move], why: &str) -> Act {
    let told = |mv: &Move| MovePlan {
        name: mv.name.to_string(),
        kind: mv.order.kind().to_owned(),
        to: mv.order.to().map(ToString::to_string),
        verdict: None,
        message: why.to_owned(),
    };
    let blocker = |mv: &Move| {
        let code = format!("move/{}", mv.name);
        let (needed, change) = (
            "a state in which the Move is what is waited for",
            "Plan it with --against live at the site that shall take over, when it has come to that.",
        );
        finding(&code, Found::Unknown, why.to_owned(), needed, change)
    };
    Act {
        begins,
        policy_changes: false,
        moves: moves.iter().map(told).collect(),
        steps: Vec::new(),
        objects: Vec::new(),
        blockers: moves.iter().map(blocker).collect(),
        expected: Expected::default(),
        risk: risk::unknown(),
    }
}

fn idle() -> Rehearsed {
    Rehearsed {
        deeds: Vec::new(),
        before: None,
        after: None,
        verdicts: Vec::new(),
        waits: Vec::new(),
        databases: Vec::new(),
        transition: None,
        took: Duration::ZERO,
        goes_on: false,
    }
}

/// The next act begins where this one has ended.
fn go_on(standing: &mut Standing, is: Option<&Policy>, done: &Rehearsed) {
    let Some(record) = &done.after else { return };
    standing.policy = is.cloned().or(standing.policy.take());
    let moved = record.epoch != standing.epoch;
    standing.active = record.active.clone();
    standing.epoch = record.epoch;
    standing.serial = standing.serial.map(|_| record.serial);
    standing.phase = record.phase.clone();
    standing.silent = record.phase == Phase::ReadOnly;
    standing.hold.clone_from(&record.hold);
    standing.history.clone_from(&record.history);
    standing.verdicts.clone_from(&record.moves);
    if moved {
        standing.seen.clear();
        standing.obstacles.clear();
    }
}

/// What an act is told from.
struct View<'a> {
    case: &'a Case,
    policy: &'a Policy,
    live: Option<&'a Live>,
    standing: &'a Standing,
    told: bool,
}

impl View<'_> {
    fn act(&self, begins: Option<Timestamp>, policy_changes: bool, done: &Rehearsed) -> Act {
        let fresh = done.before.is_none();
        let known = Known { serial: self.standing.serial.is_some() || fresh };
        let mut steps: Vec<Step> = Vec::new();
        for (at, deed) in &done.deeds {
            let step = words::step(*at, deed, self.policy, known);
            // A guard that tries again does the same.
            let again = |s: &Step| {
                (&s.site, &s.object, &s.what) == (&step.site, &step.object, &step.what)
                    && matches!(deed.what, Doing::Guard { .. })
            };
            let overtaken = matches!((&deed.what, &deed.end), (Doing::Record { .. }, End::Failed(_)));
            if !overtaken && !steps.iter().any(again) {
                steps.push(step);
            }
        }
        let objects = words::objects(&steps, done, self.policy, known);
        let moves = done.verdicts.iter().map(|(mv, verdict)| Self::moved(mv, verdict.as_ref(), done));
        Act {
            begins,
            policy_changes,
            moves: moves.collect(),
            blockers: self.blockers(done),
            expected: self.expected(done),
            risk: risk::of(self.policy, self.standing, self.live, done, self.told),
            steps,
            objects,
        }
    }

    fn moved(mv: &Move, verdict: Option<&Verdict>, done: &Rehearsed) -> MovePlan {
        let waits = done.waits.iter().find(|(_, g)| g.name == format!("move/{}", mv.name));
        let message = match (verdict, waits) {
            (Some(verdict), _) => match &done.after {
                Some(record) => words::unmeasured(&verdict.message, record),
                None => verdict.message.clone(),
            },
            (None, Some((_, gate))) => gate.words(),
            (None, None) if is_let_go(done) => {
                "the policy is suspended, and nobody acts on its Moves".to_owned()
            }
            (None, None) => "it waits: no operator acts on it now".to_owned(),
        };
        MovePlan {
            name: mv.name.to_string(),
            kind: mv.order.kind().to_owned(),
            to: mv.order.to().map(ToString::to_string),
            verdict: verdict.map(|v| format!("{:?}", v.end)),
            message,
        }
    }

    fn blockers(&self, done: &Rehearsed) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        if let Some(live) = self.live {
            all.extend(
                live.explanation.first_blocker.iter().filter(|f| f.code.starts_with("status/")).cloned(),
            );
        }
        for name in &self.case.taken {
            all.push(finding(
                &format!("move/{name}"),
                Found::No,
                "a Move of this name stands already and says something else; a Move never changes, so this text is not acted on".to_owned(),
                "a name that no Move has",
                "Give the Move a new name.",
            ));
        }
        for (mv, verdict) in &done.verdicts {
            let code = format!("move/{}", mv.name);
            match verdict.as_ref().map(|v| (v.end, &v.message)) {
                Some((MoveEnd::Done | MoveEnd::BecameFailover, _)) => {}
                Some((end, message)) => {
                    let (needed, change) = instead(end);
                    all.push(finding(&code, Found::No, format!("{end:?}: {message}"), needed, change));
                }
                None => {
                    let MovePlan { message, .. } = Self::moved(mv, None, done);
                    let change = if is_let_go(done) {
                        "Merge spec.suspend: false with it, or before it."
                    } else {
                        gate_codes::of(&code).map_or("", |c| c.change)
                    };
                    all.push(finding(&code, Found::NotYet, message, "what it waits for", change));
                }
            }
        }
        let moves_role = |(mv, _): &(Move, Option<Verdict>)| mv.order.to().is_some();
        let asked = done.verdicts.iter().any(moves_role);
        for (site, gates) in self.standing.obstacles.iter().filter(|_| asked) {
            let meant = done.verdicts.iter().any(|(mv, _)| mv.order.to() == Some(site));
            all.extend(gates.iter().filter(|_| meant).map(|g| from_gate(g, self.live, site)));
        }
        // A hold is in the way of what nobody asks for, and is no news where it was asked for.
        let others = |(_, g): &&(SiteName, Gate)| !g.name.starts_with("move/") && g.name != "hold";
        for (site, gate) in done.waits.iter().filter(others) {
            let state = gate_codes::of(&gate.name).is_none_or(|c| c.kind == GateKind::State);
            let bad = matches!(gate.answer, Answer::No | Answer::Unknown);
            let ours =
                self.standing.obstacles.get(site).is_some_and(|all| all.iter().any(|g| g.name == gate.name));
            // A site that the policy does not name says nothing of it but that.
            let named = self.policy.has_site(site) || gate.name == "site";
            let under_way = done.before.is_none() || done.goes_on;
            if bad && named && (state || under_way) && !ours && !all.iter().any(|f| f.code == gate.name) {
                all.push(from_gate(gate, None, site));
            }
        }
        all
    }

    fn expected(&self, done: &Rehearsed) -> Expected {
        let row = done.transition.as_ref();
        let ttl = done.deeds.iter().filter_map(|(_, deed)| match &deed.what {
            Doing::Step { before: Was::Published(Some((_, old))), .. } => Some(Millis::from(old.ttl).0),
            _ => None,
        });
        Expected {
            took_ms: Millis::from(done.took).0,
            write_pause_ms: row.and_then(|r| r.write_pause_ms),
            // Where a site is lost, users were read-only before anybody acted.
            read_only_ms: row.filter(|_| !self.standing.silent).and_then(|r| r.read_only_ms),
            writes_after_ms: self.writes_after(done),
            dns_ttl_ms: ttl.max(),
            last_here: row.and_then(|r| self.last_here(r.transition.cause)),
            goes_on: done.goes_on,
        }
    }

    /// When a site that was lost is replaced: its successor takes writes, users are sent there and may write.
    fn writes_after(&self, done: &Rehearsed) -> Option<u64> {
        let moved = |d: &Deed| match &d.what {
            Doing::Record { before: Some(before), after, .. } => {
                after.phase == Phase::Steady && before.phase == Phase::Promoting
            }
            _ => false,
        };
        let settled = done.deeds.iter().find(|(_, d)| moved(d)).map(|(at, _)| Millis::from(*at).0);
        settled.filter(|_| self.standing.silent && done.transition.is_some())
    }

    /// What the last transition of this kind took in the cluster that was asked.
    fn last_here(&self, cause: Cause) -> Option<String> {
        let status = &self.live?.status;
        let wanted = match cause {
            Cause::Planned => "Switchover",
            Cause::Forced => "Failover",
            _ => return None,
        };
        let ms = |ms: u64| bascule_core::time::human(Duration::from_millis(ms));
        let one = status.history.iter().find(|t| t.cause == wanted)?;
        let at = one.finished_at.as_ref().map(|t| format!(", finished {}", t.0)).unwrap_or_default();
        let last =
            status.last_transition.as_ref().filter(|t| t.cause == wanted && t.epoch == Some(one.epoch));
        let pause = last.and_then(|t| t.write_pause_ms).map(|p| format!(", write pause {}", ms(p)));
        let took = one.ms.map_or_else(|| "not measured".to_owned(), |t| format!("{} in all", ms(t)));
        Some(format!("epoch {}: {took}{}{at}", one.epoch, pause.unwrap_or_default()))
    }
}

/// Whether nobody acts on the policy.
fn is_let_go(done: &Rehearsed) -> bool {
    done.after.as_ref().is_some_and(|r| r.phase == Phase::Unmanaged)
}

/// What is needed instead of a Move that ends so, and what to do.
const fn instead(end: MoveEnd) -> (&'static str, &'static str) {
    match end {
        MoveEnd::Stale => (
            "a Move that names what the policy's status shows",
            "Write a new Move, with another name, that names the epoch (and serial) that `kubectl get fop` shows and times that have not passed: this one never acts again.",
        ),
        MoveEnd::RolledBack => (
            "a switchover that reaches its point of no return",
            "Remove what is found, then write a new Move with another name: this one never acts again.",
        ),
        MoveEnd::Refused | MoveEnd::Done | MoveEnd::BecameFailover => (
            "a Move that fits the state",
            "Remove what is found, or correct the Move, before it is merged: once refused it never acts, and another one needs another name.",
        ),
    }
}

fn finding(code: &str, answer: Found, found: String, needed: &str, change: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        answer,
        blocks: true,
        found,
        needed: needed.to_owned(),
        age_ms: None,
        change: Some(change.to_owned()).filter(|c| !c.is_empty()),
    }
}

fn from_gate(gate: &Gate, live: Option<&Live>, site: &SiteName) -> Finding {
    // A status names the same obstacle more closely than its row about the site.
    let closer = live.filter(|l| l.site().as_ref() == Some(site)).and_then(|l| {
        let bad = |f: &&Finding| f.blocks && matches!(f.answer, Found::No | Found::Unknown);
        l.explanation.gates.iter().find(bad).cloned()
    });
    closer.unwrap_or_else(|| {
        let answer = match gate.answer {
            Answer::Yes => Found::Yes,
            Answer::No => Found::No,
            Answer::NotYet => Found::NotYet,
            Answer::Unknown => Found::Unknown,
        };
        let change = gate_codes::of(&gate.name).map_or_else(
            || format!("`bascule why` at {site} names each obstacle, with what to do about it."),
            |code| code.change.to_owned(),
        );
        finding(&gate.name, answer, gate.found.clone(), &gate.needed, &change)
    })
}

/// What the policy named before and names no more.
fn let_go(was: Option<&Policy>, is: Option<&Policy>, change: Change) -> Vec<String> {
    let (Some(was), true) = (was, matches!(change, Change::Changed | Change::Removed)) else {
        return Vec::new();
    };
    let named = is.map(words::named).unwrap_or_default();
    words::named(was).into_iter().filter(|object| !named.contains(object)).collect()
}

/// What nobody was asked about.
fn not_asked(
    case: &Case,
    acts: &[Act],
    was: Option<&Policy>,
    is: Option<&Policy>,
    live: Option<&Live>,
    asked: &Asked,
) -> Vec<String> {
    let mut all = Vec::new();
    let elsewhere = live.and_then(Live::site);
    let tried = |m: &&MovePlan| m.to.is_some() && m.verdict.as_deref() != Some("Stale");
    let moved: Vec<&MovePlan> = acts.iter().flat_map(|a| &a.moves).filter(tried).collect();
    if let (Some(mv), None) = (moved.first(), &elsewhere) {
        let to = mv.to.as_deref().unwrap_or_default();
        all.push(format!(
            "whether {to} could take over now (replication, lag, grants, who owns the fields): unknown; nothing in the way is assumed"
        ));
    }
    let touched = acts.iter().any(|a| a.objects.iter().any(|o| o.site.is_some()));
    match &elsewhere {
        None if touched && case.change == Change::New => all.push(format!(
            "what the clusters hold now: unknown; {ASSUMED_REPLICAS} replica is assumed for each workload, no flag, and nothing in DNS"
        )),
        None if touched => all.push(
            "what the clusters hold now (replicas, flags, DNS): unknown; old values are what the policy before makes of them".to_owned(),
        ),
        Some(site) if touched => all.push(format!(
            "what the other sites' clusters and DNS hold now: unknown (only {site}'s cluster was asked); old values there are what the policy before makes of them"
        )),
        _ => {}
    }
    let known = |site: &str, name: &bascule_core::name::ItemName| {
        let seen = live.iter().flat_map(|l| &l.seen).find(|((s, n), _)| s.as_str() == site && n == name);
        seen.is_some_and(|(_, s)| s.replicas.is_some())
    };
    let policies = is.into_iter().chain(was).take(1);
    for (name, w) in policies.flat_map(|p| &p.workloads) {
        let scaled = w.replicas != bascule_core::policy::Replicas::default();
        let object = format!("/{}, spec.replicas", w.name);
        let shown = acts.iter().flat_map(|a| &a.objects).find(|o| o.what.ends_with(&object));
        if let (true, None, Some(shown)) = (scaled && !moved.is_empty(), w.replicas.active, shown)
            && !known(shown.site.as_deref().unwrap_or_default(), name)
        {
            all.push(format!(
                "how many replicas {name} has while its site is active: unknown (spec leaves replicas.active out: as many as were observed last); 2 are assumed"
            ));
        }
    }
    if (!moved.is_empty() || case.change != Change::None) && !asked.profile_said {
        all.push(format!(
            "the installation's timing profile: unknown; {} is assumed (--profile)",
            asked.profile.name()
        ));
    }
    all
}
