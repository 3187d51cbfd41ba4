//! What people are told of whole stories, and by whom; and that it delays nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::notice::{Case, Kind, Memory, due};
use bascule_core::policy::{After, Notifications, Policy};
use bascule_core::record::Phase;
use bascule_core::time::Boottime;
use jiff::Timestamp;

use crate::world::{World, item, policy, site, switchover};

fn with_mail(policy: Policy) -> Policy {
    let notifications = Notifications { channels: vec![item("mail")], ..Notifications::default() };
    Policy { notifications, ..policy }
}

/// What the operators of both sites have told, to a channel that nobody reads.
#[derive(Default)]
struct People {
    memories: BTreeMap<SiteName, Memory>,
    told: Vec<(Kind, String)>,
}

impl People {
    /// Every operator that lives looks at what it shows.
    fn look(&mut self, w: &World, told: &Arc<Policy>) {
        let now = Timestamp::UNIX_EPOCH.checked_add(w.now.since_boot()).unwrap();
        for (name, shown) in &w.shown {
            let known = shown.policy.is_some();
            if !w.places[name].alive || !known {
                continue;
            }
            let case = Case {
                policy: Arc::clone(told),
                record: shown.record.clone(),
                sentence: shown.report.sentence.clone(),
                conditions: shown.report.conditions.clone(),
                sites: shown.report.sites.clone(),
                moves: vec![],
            };
            let memory = self.memories.entry(name.clone()).or_default();
            let notices = due(memory, name, &case, now);
            self.told.extend(notices.into_iter().map(|n| (n.kind, name.to_string())));
        }
    }

    /// Looks until it is so.
    fn until(&mut self, w: &mut World, told: &Arc<Policy>, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..600 {
            if done(w) {
                return self.look(w, told);
            }
            w.run(50);
            self.look(w, told);
        }
        panic!("{what} did not happen: {:?}", w.record);
    }

    /// Looks for so many tenths of a second.
    fn look_for(&mut self, w: &mut World, told: &Arc<Policy>, tenths: u32) {
        for _ in 0..tenths {
            w.run(100);
            self.look(w, told);
        }
    }

    /// An operator starts again: what it knows is what its status said.
    fn restart(&mut self, w: &World, at: &str) {
        let record = w.shown[&site(at)].record.as_ref();
        let before = record.map(|r| (r.epoch, r.phase.clone()));
        self.memories.insert(site(at), Memory::from_status(before, None, None));
    }
}

type Order = (Boottime, String, &'static str);

/// A site is lost and replaced: every order with its virtual time and site, and what people were told.
fn lost(policy: &Policy) -> (Vec<Order>, Vec<(Kind, String)>) {
    let (mut w, mut people, told) = (World::new(policy), People::default(), Arc::new(policy.clone()));
    people.until(&mut w, &told, "paris opens", |w| w.settled("paris", 1));
    w.run(3_000);
    w.kill("paris");
    people.until(&mut w, &told, "lyon is promoted", |w| w.is(&Phase::Steady, "lyon", 2) && w.open("lyon"));
    w.boot("paris");
    people.restart(&w, "paris");
    people.look_for(&mut w, &told, 100);
    let log = w.log.iter().map(|(at, who, what)| (*at, who.to_string(), *what)).collect();
    (log, people.told)
}

fn by(told: &[(Kind, &str)]) -> Vec<(Kind, String)> {
    told.iter().map(|(kind, site)| (*kind, (*site).to_owned())).collect()
}

#[test]
fn with_people_to_tell_and_nobody_who_takes_it_every_order_comes_at_the_same_time() {
    let alone = policy(After::Elapsed(Duration::from_secs(3)));
    let (expected, nobody) = lost(&alone);
    let (found, told) = lost(&with_mail(alone));
    assert_eq!(nobody, []);
    assert_eq!(told, by(&[(Kind::ReadOnly, "lyon"), (Kind::Moved, "lyon")]));
    let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
    assert_eq!(differs.map(|i| (&expected[i], &found[i])), None);
    assert_eq!(expected.len(), found.len());
}

#[test]
fn of_two_switchovers_each_new_site_tells_once() {
    let policy = with_mail(policy(After::Never));
    let (mut w, mut people, told) = (World::new(&policy), People::default(), Arc::new(policy));
    people.until(&mut w, &told, "paris opens", |w| w.settled("paris", 1));
    w.moves(&[switchover("there", "paris", "lyon", 1)]);
    people.until(&mut w, &told, "lyon opens", |w| w.settled("lyon", 2));
    people.look_for(&mut w, &told, 20);
    w.moves(&[switchover("back", "lyon", "paris", 2)]);
    people.until(&mut w, &told, "paris opens again", |w| w.settled("paris", 3));
    people.look_for(&mut w, &told, 100);
    assert_eq!(people.told, by(&[(Kind::Moved, "lyon"), (Kind::Moved, "paris")]));
}

#[test]
fn a_site_that_comes_back_in_time_tells_it_itself() {
    let policy = with_mail(policy(After::Elapsed(Duration::from_secs(30))));
    let (mut w, mut people, told) = (World::new(&policy), People::default(), Arc::new(policy));
    people.until(&mut w, &told, "paris opens", |w| w.settled("paris", 1));
    w.run(3_000);
    w.kill("paris");
    people.until(&mut w, &told, "lyon serves reads", |w| w.is(&Phase::ReadOnly, "paris", 1));
    people.look_for(&mut w, &told, 20);
    w.boot("paris");
    people.restart(&w, "paris");
    people.until(&mut w, &told, "paris returns", |w| w.is(&Phase::Returning, "paris", 1));
    people.until(&mut w, &told, "paris is back", |w| w.settled("paris", 1));
    people.look_for(&mut w, &told, 100);
    assert_eq!(people.told, by(&[(Kind::ReadOnly, "lyon"), (Kind::Back, "paris")]));
}
