//! The faults that people can ask for, in their words.

use crate::fault::Fault;

/// What a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// One site: `KIND=SITE`.
    Site,
    /// No site in particular: `KIND`.
    World,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Whether it needs a site.
    pub about: About,
    /// Whether it can be taken back after some time.
    pub ends: bool,
    /// What it is, in one line.
    pub means: &'static str,
    begins: &'static str,
    over: &'static str,
    make: fn(usize) -> Fault,
}

impl Kind {
    /// The kind with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|k| k.name == name)
    }

    /// Its fault, in this site where it needs one.
    pub fn fault(&self, site: usize) -> Fault {
        (self.make)(site)
    }

    /// What is seen when it begins.
    pub fn begins(&self, site: Option<&str>) -> String {
        self.begins.replace("{}", site.unwrap_or_default())
    }

    /// What is seen when it is over.
    pub fn over(&self, site: Option<&str>) -> String {
        self.over.replace("{}", site.unwrap_or_default())
    }

    /// How it is written.
    pub fn form(&self) -> String {
        let site = if self.about == About::Site { "=SITE" } else { "" };
        let lasts = if self.ends { "[+DURATION]" } else { "" };
        format!("{}{site}@TIME{lasts}", self.name)
    }

    /// Whether the arbiter may know less after it than before.
    pub(super) fn loses_the_record(&self) -> bool {
        matches!(self.name, "arbiter-restored" | "arbiter-emptied")
    }

    /// Whether it takes the guard away with the server: that another starts there is waited for.
    pub(super) fn takes_the_guard(&self) -> bool {
        matches!(self.name, "guard" | "node" | "guard-frozen" | "pod-frozen" | "guard-link")
    }
}

const fn site(
    name: &'static str,
    means: &'static str,
    begins: &'static str,
    over: &'static str,
    make: fn(usize) -> Fault,
) -> Kind {
    Kind { name, about: About::Site, ends: true, means, begins, over, make }
}

const fn once(
    name: &'static str,
    means: &'static str,
    begins: &'static str,
    make: fn(usize) -> Fault,
) -> Kind {
    Kind { name, about: About::Site, ends: false, means, begins, over: "", make }
}

const fn world(
    name: &'static str,
    means: &'static str,
    begins: &'static str,
    over: &'static str,
    make: fn(usize) -> Fault,
) -> Kind {
    Kind { name, about: About::World, ends: true, means, begins, over, make }
}

const fn world_once(
    name: &'static str,
    means: &'static str,
    begins: &'static str,
    make: fn(usize) -> Fault,
) -> Kind {
    Kind { name, about: About::World, ends: false, means, begins, over: "", make }
}

/// How far a clock is set, in seconds.
const HOUR: i32 = 3600;
/// How fast a clock runs, in parts per million: the most that the rules allow for.
const FAST: i32 = 10_000;

/// All of them, what whole sites do first.
pub static KINDS: &[Kind] = &[
    site(
        "site",
        "the site loses power: its cluster, its databases, its member of the arbiter",
        "{} loses power",
        "{} has power again",
        Fault::SiteLost,
    ),
    site(
        "site-frozen",
        "everything in the site stands still",
        "{} stands still",
        "{} goes on",
        Fault::SiteFrozen,
    ),
    site(
        "isolated",
        "the site is cut off from everything, and goes on inside",
        "{} is cut off from everything",
        "{} is connected again",
        Fault::Isolated,
    ),
    site(
        "mute",
        "nothing leaves the site; it hears the others",
        "nothing leaves {} any more",
        "{} is heard again",
        Fault::Mute,
    ),
    site(
        "deaf",
        "nothing reaches the site; the others hear it",
        "nothing reaches {} any more",
        "{} is reached again",
        Fault::DeafSite,
    ),
    once(
        "flapping",
        "the site's lines come and go every 0.9 s, for 8 s",
        "the lines of {} come and go for 8 s",
        Fault::Flapping,
    ),
    site(
        "slow",
        "the site's lines are ten times as slow and lose a third of the packets",
        "the lines of {} become slow and lossy",
        "the lines of {} are as before",
        Fault::Grey,
    ),
    world(
        "link",
        "the line between the policy's first two sites is cut; both still reach the third place",
        "the line between the sites is cut",
        "the line between the sites is back",
        |_| Fault::SitesCut,
    ),
    site(
        "arbiter",
        "the site cannot reach the arbiter",
        "{} cannot reach the arbiter",
        "{} reaches the arbiter again",
        Fault::ArbiterCut,
    ),
    world(
        "third",
        "the third place loses power",
        "the third place loses power",
        "the third place has power again",
        |_| Fault::ThirdLost,
    ),
    world(
        "witness",
        "the third place's member of the arbiter is gone, and nothing else there",
        "the arbiter's member in the third place is gone",
        "the arbiter's member in the third place is back",
        |_| Fault::WitnessLost,
    ),
    world(
        "arbiter-leader",
        "the arbiter's leader stands still",
        "the arbiter's leader stands still",
        "the arbiter's former leader goes on",
        |_| Fault::LeaderFrozen,
    ),
    world_once(
        "arbiter-restored",
        "the arbiter is restored from a backup that was made when all was steady",
        "the arbiter is restored from an old backup",
        |_| Fault::ArbiterRestored,
    ),
    world_once("arbiter-emptied", "the arbiter's data are lost", "the arbiter is emptied", |_| {
        Fault::ArbiterEmptied
    }),
    world_once(
        "leases-deleted",
        "somebody deletes the sites' leases",
        "the sites' leases are deleted",
        |_| Fault::LeasesDeleted,
    ),
    once(
        "database",
        "the database's processes die; their guard lives",
        "the database of {} dies",
        Fault::ServerKilled,
    ),
    site(
        "database-frozen",
        "the database stands still; its guard runs",
        "the database of {} stands still",
        "the database of {} goes on",
        Fault::ServerFrozen,
    ),
    once(
        "guard",
        "the database's container is killed and started again",
        "the guard of {} is killed",
        Fault::GuardKilled,
    ),
    site(
        "node",
        "the machine under the database dies, with its guard; the operator runs elsewhere in the site",
        "the machine under the database of {} dies",
        "the machine under the database of {} is back",
        Fault::NodeLost,
    ),
    site(
        "guard-frozen",
        "the guard stands still while its database runs (no fence covers that)",
        "the guard of {} stands still",
        "the guard of {} goes on",
        Fault::GuardFrozen,
    ),
    site(
        "pod-frozen",
        "database and guard stand still together",
        "the database's pod in {} stands still",
        "the database's pod in {} goes on",
        Fault::PodFrozen,
    ),
    site(
        "guard-link",
        "nothing passes between the operator and the guard",
        "operator and guard of {} do not hear each other",
        "operator and guard of {} hear each other again",
        Fault::GuardLinkCut,
    ),
    site(
        "disk",
        "the disk under the database is full",
        "the disk under the database of {} is full",
        "the disk under the database of {} has room again",
        Fault::DiskFull,
    ),
    site(
        "replay",
        "the replica replays 3 s late",
        "the replica in {} replays 3 s late",
        "the replica in {} replays at once again",
        Fault::ReplayLags,
    ),
    site(
        "promotion-slow",
        "a promotion takes 1.5 s",
        "promotions in {} take 1.5 s",
        "promotions in {} are fast again",
        Fault::PromotionSlow,
    ),
    site(
        "promotion-late",
        "a promotion takes 30 s",
        "promotions in {} take 30 s",
        "promotions in {} are fast again",
        Fault::PromotionLate,
    ),
    site(
        "promotion-fails",
        "a promotion fails",
        "promotions in {} fail",
        "promotions in {} work again",
        Fault::PromotionFails,
    ),
    site(
        "rewind-fails",
        "pg_rewind fails",
        "rewinding in {} fails",
        "rewinding in {} works again",
        Fault::RewindFails,
    ),
    site(
        "stop-slow",
        "a fast stop takes a minute",
        "stopping in {} takes a minute",
        "stopping in {} is fast again",
        Fault::StopSlow,
    ),
    once(
        "by-hand",
        "somebody promotes the replica by hand",
        "somebody promotes the replica in {} by hand",
        Fault::PromotedByHand,
    ),
    site(
        "unlocked",
        "a person unlocks the database (bascule guard unlock), and gives it back in the end",
        "a person unlocks the database of {}",
        "the database of {} is given back",
        Fault::Unlocked,
    ),
    once(
        "operator",
        "the operator is killed; Kubernetes starts it again within 3 s",
        "the operator of {} is killed",
        Fault::OperatorKilled,
    ),
    site(
        "operator-frozen",
        "the operator stands still",
        "the operator of {} stands still",
        "the operator of {} goes on",
        Fault::OperatorFrozen,
    ),
    once(
        "operator-upgrade",
        "the operator is replaced by a new process at once",
        "the operator of {} is upgraded",
        Fault::OperatorUpgraded,
    ),
    site(
        "operator-twice",
        "a second operator runs in the site",
        "a second operator runs in {}",
        "the second operator of {} is gone",
        Fault::SecondOperator,
    ),
    site(
        "operator-followed",
        "another replica of the operator acts, while the one before does not know of it yet; at the end it changes again",
        "another replica of the operator of {} acts",
        "the replicas of the operator of {} change again",
        Fault::ReplicaFollows,
    ),
    site(
        "api",
        "the API server is gone",
        "the API server of {} is gone",
        "the API server of {} is back",
        Fault::ApiGone,
    ),
    site(
        "api-silent",
        "the API server does not answer",
        "the API server of {} does not answer",
        "the API server of {} answers again",
        Fault::ApiSilent,
    ),
    site(
        "api-busy",
        "the API server says 429 to everything",
        "the API server of {} is too busy",
        "the API server of {} answers again",
        Fault::ApiBusy,
    ),
    site(
        "api-slow",
        "every call to the API server takes half a second more",
        "the API server of {} is slow",
        "the API server of {} is fast again",
        Fault::ApiSlow,
    ),
    site(
        "api-forbidden",
        "the operator's rights are gone",
        "the operator of {} is forbidden everything",
        "the operator of {} has its rights back",
        Fault::ApiForbidden,
    ),
    site(
        "secret",
        "the databases' Secrets are gone",
        "the databases' Secrets in {} are gone",
        "the databases' Secrets in {} are back",
        Fault::SecretGone,
    ),
    site(
        "flag-owned",
        "another controller owns the read-only flags",
        "Argo CD owns the read-only flags in {}",
        "the read-only flags in {} belong to Bascule again",
        Fault::FlagOwned,
    ),
    site(
        "flag-unseen",
        "pods do not see the read-only flag change",
        "the pods in {} do not see their flag change",
        "the pods in {} see their flag",
        Fault::PodsDeaf,
    ),
    site(
        "pods",
        "no new pod starts",
        "no new pod starts in {}",
        "pods start in {} again",
        Fault::PodsNeverStart,
    ),
    world("git", "the git server is gone", "the git server is gone", "the git server is back", |_| {
        Fault::GitDown
    }),
    world(
        "git-invalid",
        "the repository's head cannot be read",
        "the repository's head is no valid revision",
        "the repository's head is valid again",
        |_| Fault::GitInvalid,
    ),
    world_once(
        "git-rewritten",
        "the repository is put back to what it was when all was steady",
        "the repository's history is rewritten",
        |_| Fault::GitRewritten,
    ),
    site(
        "git-old",
        "the site sees no new commits",
        "{} sees no new commits",
        "{} sees new commits again",
        Fault::GitHidden,
    ),
    site(
        "policy-deleted",
        "the policy is deleted in the site",
        "the policy is deleted in {}",
        "the policy exists in {} again",
        Fault::PolicyDeleted,
    ),
    site(
        "policy-invalid",
        "the policy becomes invalid in the site",
        "the policy becomes invalid in {}",
        "the policy is valid in {} again",
        Fault::PolicyInvalid,
    ),
    site(
        "policy-edited",
        "the policy is edited by hand in the site",
        "the policy is edited by hand in {}",
        "the edit of the policy in {} is undone",
        Fault::PolicyEdited,
    ),
    world(
        "dns",
        "the DNS server refuses updates",
        "the DNS server refuses updates",
        "the DNS server takes updates again",
        |_| Fault::DnsRefuses,
    ),
    world(
        "dns-stuck",
        "a secondary DNS server never gets updates",
        "a secondary DNS server is stuck",
        "the secondary DNS server gets updates again",
        |_| Fault::DnsStuck,
    ),
    site(
        "clock",
        "the site's wall clock is an hour fast",
        "the clock of {} is set an hour ahead",
        "the clock of {} is set right",
        |s| Fault::ClockSet(s, HOUR),
    ),
    site(
        "clock-fast",
        "the site's clocks run 1 % fast",
        "the clocks of {} run 1 % fast",
        "the clocks of {} run as before",
        |s| Fault::ClockRate(s, FAST),
    ),
    site(
        "marks",
        "the operator's own ConfigMap cannot be written",
        "the marks of {} cannot be written",
        "the marks of {} can be written again",
        Fault::MarksFrozen,
    ),
    once(
        "name-taken",
        "another cluster is installed with the site's name",
        "another cluster calls itself {}",
        Fault::NameTaken,
    ),
];

/// All of them, one line each, for people.
pub fn list() -> String {
    let forms: Vec<(String, &Kind)> = KINDS.iter().map(|k| (k.form(), k)).collect();
    let width = forms.iter().map(|(form, _)| form.len()).max().unwrap_or_default();
    let line = |(form, kind): &(String, &Kind)| format!("{form:<width$}  {}\n", kind.means);
    let lines: String = forms.iter().map(line).collect();
    format!(
        "{lines}\nTIME counts from the moment everything is steady. Without +DURATION a fault lasts for good; what takes \
         no DURATION is over at once.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_words_name_the_site() {
        let names: BTreeSet<&str> = KINDS.iter().map(|k| k.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            let about = kind.about == About::Site;
            assert_eq!(kind.begins.contains("{}"), about, "{}", kind.name);
            assert_eq!(kind.over.is_empty(), !kind.ends, "{}", kind.name);
            assert_eq!(kind.fault(1).site().is_some(), about, "{}", kind.name);
        }
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        let list = list();
        assert!(KINDS.iter().all(|k| list.lines().any(|l| l.starts_with(&k.form()) && l.ends_with(k.means))));
        assert!(list.contains("site=SITE@TIME[+DURATION]"), "{list}");
        assert!(list.contains("third@TIME[+DURATION]"), "{list}");
    }
}
