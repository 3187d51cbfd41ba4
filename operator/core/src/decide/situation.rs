//! What is known, and the small questions that every rule asks.

use std::time::Duration;

use jiff::Timestamp;

use crate::ballot::claim::Claim;
use crate::ballot::holder::Holder;
use crate::ballot::silence::{LeaseRevision, Observer};
use crate::decide::unlocked;
use crate::few::Few;
use crate::memory::Memory;
use crate::moves::Move;
use crate::mutant::forgets;
use crate::name::{ItemName, SiteName};
use crate::observation::{Fact, Marks, Observation};
use crate::plan::{Answer, Gate};
use crate::policy::{FenceClass, Policy};
use crate::record::{Fences, Promise, Record};
use crate::time::{Boottime, Millis, human};
use crate::timing::{Profile, Timing};

/// What is the same for every policy of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The timing profile.
    pub profile: Profile,
    /// Its timings.
    pub timing: Timing,
    /// The arbiter's generation, as the installation's values say.
    pub generation: u64,
    /// What the loss of one place does to the arbiter.
    pub places: Places,
}

impl Installation {
    /// Whether a policy may move its role, and a site give its own up, without a person.
    pub const fn moves_by_itself(&self) -> bool {
        !matches!(self.places, Places::One)
    }

    /// Why nothing is promoted without a person under a policy that has been put [under](Policy::under) this installation.
    pub const fn why_never(&self) -> &'static str {
        if self.moves_by_itself() {
            "spec.failover.promote.after is Never"
        } else {
            "the arbiter is a single point, one witness, and arbiter.acceptSinglePoint is not set in this site"
        }
    }

    /// What a person has to know of the arbiter before it is lost; nothing where no single place can stop it.
    pub const fn single_point(&self) -> Option<&'static str> {
        match self.places {
            Places::Several => None,
            Places::One => Some(
                "the arbiter is a single point, one witness: nothing is promoted by itself, and when the witness is lost no database stops and no role moves; for automatic failover set arbiter.acceptSinglePoint in all sites, or use an arbiter of three places",
            ),
            Places::OneAccepted => Some(
                "the arbiter is a single point, one witness, which this installation accepts: when the witness is lost, the active site stops by itself although nothing else is wrong, and nobody takes its place",
            ),
        }
    }
}

/// How many places the arbiter has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Places {
    /// Members in several: any one may be lost.
    #[default]
    Several,
    /// One, a witness. Nobody has accepted what its loss would do to a site that fences itself, so none does, and nothing
    /// is promoted by itself.
    One,
    /// One, and the installation accepts that its loss stops every active site.
    OneAccepted,
}

/// What is known of the policy object.
#[derive(Clone, Debug)]
pub enum PolicySeen<'a> {
    /// The objects have not been listed completely since the start: absence means nothing yet.
    NotListed,
    /// A complete list does not have it.
    Absent,
    /// It is there and valid.
    Present(&'a Policy),
}

/// Everything a decision may depend on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// This site.
    pub me: &'a SiteName,
    /// The monotonic time.
    pub now: Boottime,
    /// The wall clock: for people, for `notBefore` and `notAfter`.
    pub wall: Timestamp,
    /// The installation's settings.
    pub installation: &'a Installation,
    /// The policy.
    pub policy: PolicySeen<'a>,
    /// This site's own lease.
    pub holder: &'a Holder,
    /// The others' leases.
    pub observer: &'a Observer,
    /// The record, and the right to grant.
    pub claim: &'a Claim,
    /// What was seen.
    pub seen: &'a Observation,
    /// The Moves about this policy that exist now.
    pub moves: &'a [Move],
    /// This operator's question to the other sites.
    pub question: u64,
    /// What this process remembers.
    pub memory: &'a Memory,
}

impl Situation<'_> {
    /// The timings.
    pub const fn timing(&self) -> &Timing {
        &self.installation.timing
    }

    /// The sites of the policy, if it is known.
    pub fn sites(&self) -> Option<&[SiteName]> {
        match self.policy {
            PolicySeen::Present(policy) => Some(&policy.sites),
            PolicySeen::NotListed | PolicySeen::Absent => None,
        }
    }

    /// The databases that the policy has in this site, if it is known.
    pub fn databases(&self) -> Option<impl Iterator<Item = &ItemName>> {
        match self.policy {
            PolicySeen::Present(policy) => {
                let here = policy.databases.iter().filter(|(_, d)| d.instances.contains_key(self.me));
                Some(here.map(|(name, _)| name))
            }
            PolicySeen::NotListed | PolicySeen::Absent => None,
        }
    }

    /// Whether this site's own lease has time left: it is asked again before every effect.
    pub fn lease_alive(&self) -> bool {
        self.holder.remaining(self.now).is_some()
    }

    /// Whether this site grants for this policy now.
    pub fn grants(&self) -> bool {
        self.claim.grant(self.holder, self.me, self.now).is_ok()
    }

    /// How long `site`'s lease has been seen unchanged.
    pub fn silent_for(&self, site: &SiteName) -> Option<Duration> {
        self.observer.window(site).map(|w| w.silent_for())
    }

    /// Whether `site` lives: `true` when its lease was seen to change within `L` (the *recorded* one for the active
    /// site), `false` when it was seen unchanged for so long, `None` while it was not looked at for long enough.
    pub fn lives(&self, site: &SiteName) -> Option<bool> {
        let recorded = self.claim.view().map(|v| &v.record).filter(|r| r.active == *site);
        let lease = recorded.map_or(self.timing().l(), |r| r.promise.lease.duration());
        let window = self.observer.window(site)?;
        if window.silent_for() >= lease { Some(false) } else { window.changed.then_some(true) }
    }

    /// Whether a compare-and-swap may be proposed: the own lease has time left, and the view of the record is not
    /// known to be overtaken.
    pub fn may_write(&self) -> bool {
        self.lease_alive() && self.claim.current().is_some()
    }

    /// The lease revision that proves the record's active site silent for its *recorded* `L`.
    pub fn proves_silence(&self, record: &Record) -> Option<LeaseRevision> {
        let received = self.claim.current()?.received;
        self.observer.proves_silence(&record.active, record.promise.lease.duration(), received)
    }

    /// What the other site said, if it is known.
    pub fn facts(&self, site: &SiteName) -> Fact<&crate::facts::SiteFacts> {
        match self.seen.sites.get(site) {
            Some(Fact::Known { value, age }) => Fact::Known { value, age: *age },
            Some(Fact::Unknown { reason }) => Fact::unknown(reason.clone()),
            None => Fact::unknown(format!("{site} has said nothing about this policy yet")),
        }
    }

    /// A gate that refuses an arbiter that answers with less than this site has seen before.
    pub fn gone_back(&self, record: &Record) -> Option<Gate> {
        let mark = self.seen.known_marks();
        let found = Marks::from(record);
        let behind = found.generation < mark.generation
            || (found.generation == mark.generation
                && (found.epoch < mark.epoch || found.serial < mark.serial));
        let behind = behind && !forgets("an arbiter that has gone back is refused");
        behind.then(|| {
            Gate::new(
                "arbiter",
                Answer::No,
                format!(
                    "this arbiter has gone back in time: epoch {}, serial {}, generation {}",
                    found.epoch, found.serial, found.generation
                ),
                format!(
                    "at least epoch {}, serial {}, generation {}, which this site has seen; raise arbiter.generation above {} in all sites",
                    mark.epoch, mark.serial, mark.generation, mark.generation
                ),
            )
        })
    }

    /// What this site undertakes when it is active under `policy`.
    pub fn promise(&self, policy: &Policy) -> Promise {
        let class = policy.databases.values().map(|d| d.fence).min().unwrap_or(FenceClass::Guard);
        let automatic = policy.failover.promote_after.elapsed().is_some();
        let fences = match class {
            FenceClass::Gate | FenceClass::Guard => true,
            FenceClass::External => automatic,
            FenceClass::Advisory => false,
        };
        let fences = fences && self.installation.moves_by_itself() && !unlocked::any(self, policy);
        let t = self.timing();
        Promise {
            fences: if fences { Fences::Within { holder: t.holder, fence: t.fence } } else { Fences::Never },
            lease: t.lease,
            fence_class: class,
            profile: self.installation.profile.name().to_owned(),
        }
    }

    /// How long the record has been in its phase, by this process's own clock alone: the site that entered it may have
    /// another machine by now, with another wall clock. After a restart it counts anew: late costs minutes, early loses
    /// data.
    pub fn in_phase(&self) -> Duration {
        self.memory.in_phase(self.now)
    }

    /// Whether the cooldown after the last transition is over, as a gate.
    pub fn cooldown(&self, policy: &Policy, record: &Record) -> Gate {
        let wanted = policy.failover.cooldown;
        let Some(last) = record.history.first().filter(|t| t.cause != crate::record::Cause::Initial) else {
            return Gate::new("cooldown", Answer::Yes, "no transition so far", human(wanted));
        };
        let seen = self.memory.settled_seen().map(|t| self.now.since(t)).unwrap_or_default();
        // Two machines' wall clocks are compared here for want of anything better after a restart; the cooldown
        // protects against flapping only, never against two writers.
        let wall =
            last.ended.and_then(|e| Duration::try_from(self.wall.duration_since(e)).ok()).unwrap_or_default();
        let passed = seen.max(wall);
        let over = passed >= wanted || forgets("a cooldown is waited for");
        // How long it has been over is of no interest, and would be another text for all the years that follow.
        let found = if over { format!("at least {}", human(wanted)) } else { human(passed) };
        let found = format!("{found} since the last transition");
        Gate::when(over, Answer::NotYet, "cooldown", found, human(wanted))
    }

    /// Whether a person holds automatic promotions, as a gate.
    pub fn not_held(&self, record: &Record) -> Gate {
        match &record.hold {
            Some(hold) if hold.until > self.wall && !forgets("a hold holds") => Gate::new(
                "hold",
                Answer::No,
                format!("held until {} ({})", hold.until, hold.reason),
                "no hold; end it by a Move of type Resume",
            ),
            _ => Gate::new("hold", Answer::Yes, "not held", "no hold"),
        }
    }
}

/// The time between two stamps, if both are known.
pub(super) fn between(from: Option<Boottime>, to: Option<Boottime>) -> Option<Millis> {
    Some(Millis::from(to?.since(from?)))
}

/// Whether every entry of `names` fulfils `test` in `map`; an entry that is missing does not.
pub(super) fn all_in<'a, K: Ord + 'a, V>(
    names: impl IntoIterator<Item = &'a K>,
    map: &Few<K, V>,
    test: impl Fn(&V) -> bool,
) -> bool {
    names.into_iter().all(|name| map.get(name).is_some_and(&test))
}
