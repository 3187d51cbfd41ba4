//! The ways a role moves: what each begins with, and what it comes to when nothing goes wrong.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::{ObjectName, PolicyKey, SiteName};
use bascule_core::policy::{After, Backend, Policy, Traffic};

use crate::fault::{Fault, When};
use crate::time::Moment;
use crate::world::{Plan, World};

/// A way a role moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// A Move `Switchover`.
    Switchover,
    /// A switchover whose target cannot finish: it is rolled back.
    Rollback,
    /// The active site dies; it is replaced at once.
    SiteLost,
    /// The active site dies; its reads are served first.
    SiteLostHold,
    /// The active site comes back while its reads are served.
    #[serde(rename = "return-during-hold")]
    ReturnDuring,
    /// The active site comes back after it was replaced.
    ReturnAfter,
    /// The active site's database dies and does not come back.
    DatabaseDead,
    /// A role that has moved is moved back by a Move.
    Failback,
    /// The arbiter is restored from a backup.
    ArbiterRestored,
    /// A person holds the role; the active site dies and comes back.
    Held,
    /// The active site dies while the other's machine starts anew: nobody knows any more what the copy had heard.
    BothLost,
    /// The node under the active site's database dies while its operator lives.
    NodeLost,
    /// A role that has moved by itself may not move again so soon.
    Cooldown,
    /// Another policy's database dies; what happens to that one must not stop the first one's writer.
    Neighbours,
    /// The servers of a thousand policies die at once.
    Fleet,
    /// Three sites: a Move `Switchover` to the last of them; the one between follows.
    ThreeSwitchover,
    /// Three sites: the role that has moved to the last of them is moved back.
    ThreeFailback,
    /// Three sites: the active one dies and comes back; the preferred one of two equal copies takes.
    ThreeLost,
    /// Three sites: the preferred copy is cut off from its primary, then the active site dies. The other copy has more.
    ThreeLagging,
    /// Three sites: the preferred copy may lose too much, reads are served first. The other copy may not.
    ThreeRefused,
    /// Three sites: the active and the preferred one die, and with them two of three members of the arbiter.
    TwoOfThreeLost,
    /// Three sites: the active site's database dies and does not come back.
    ThreeOffered,
    /// Nothing happens.
    Quiet,
}

impl Flow {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Switchover,
        Self::Rollback,
        Self::SiteLost,
        Self::SiteLostHold,
        Self::ReturnDuring,
        Self::ReturnAfter,
        Self::DatabaseDead,
        Self::Failback,
        Self::ArbiterRestored,
        Self::Held,
        Self::BothLost,
        Self::NodeLost,
        Self::Cooldown,
        Self::Neighbours,
        Self::Fleet,
        Self::ThreeSwitchover,
        Self::ThreeFailback,
        Self::ThreeLost,
        Self::ThreeLagging,
        Self::ThreeRefused,
        Self::TwoOfThreeLost,
        Self::ThreeOffered,
        Self::Quiet,
    ];

    /// Its name, as in tables and scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Rollback => "rollback",
            Self::SiteLost => "site-lost",
            Self::SiteLostHold => "site-lost-hold",
            Self::ReturnDuring => "return-during-hold",
            Self::ReturnAfter => "return-after",
            Self::DatabaseDead => "database-dead",
            Self::Failback => "failback",
            Self::ArbiterRestored => "arbiter-restored",
            Self::Held => "held",
            Self::BothLost => "both-lost",
            Self::NodeLost => "node-lost",
            Self::Cooldown => "cooldown",
            Self::Neighbours => "neighbours",
            Self::Fleet => "fleet",
            Self::ThreeSwitchover => "three-switchover",
            Self::ThreeFailback => "three-failback",
            Self::ThreeLost => "three-lost",
            Self::ThreeLagging => "three-lagging",
            Self::ThreeRefused => "three-refused",
            Self::TwoOfThreeLost => "two-of-three-lost",
            Self::ThreeOffered => "three-offered",
            Self::Quiet => "quiet",
        }
    }

    /// How many sites its world has.
    pub const fn sites(self) -> usize {
        match self {
            Self::ThreeSwitchover
            | Self::ThreeFailback
            | Self::ThreeLost
            | Self::ThreeLagging
            | Self::ThreeRefused
            | Self::TwoOfThreeLost
            | Self::ThreeOffered => 3,
            _ => 2,
        }
    }

    /// What the policy must say for it.
    pub fn fit(self, policy: &mut Policy) {
        while policy.sites.len() < self.sites() {
            one_more_site(policy);
        }
        policy.failover.promote_after = match self {
            Self::SiteLostHold | Self::ReturnDuring | Self::ThreeRefused => {
                After::Elapsed(Duration::from_secs(3))
            }
            _ => After::Elapsed(Duration::ZERO),
        };
        if self == Self::ThreeRefused {
            // What the fence takes, and what a copy may have to wait for a message; the line was cut for longer.
            policy.failover.max_data_loss.seconds = Duration::from_secs(4);
            policy.failover.restart_grace = Duration::from_secs(1);
        }
        if self == Self::Cooldown {
            policy.failover.cooldown = Duration::from_mins(2);
        }
    }

    /// What begins it, in a world that is settled with its first site active.
    pub fn begin(self, world: &mut World) {
        world.remember();
        let policy = world.policies[0].key.clone();
        match self {
            Self::Switchover => switch(world, &policy, 0, 1),
            Self::Rollback => {
                // The target is cut off once the source has stopped: its proof never comes.
                world.plan(
                    When::Enters("Handover".to_owned()),
                    Fault::Isolated(1),
                    Some(Duration::from_secs(25)),
                );
                switch(world, &policy, 0, 1);
            }
            Self::SiteLost | Self::SiteLostHold | Self::ThreeLost => {
                begin_now(world, Fault::SiteLost(0), Some(Duration::from_secs(9)));
            }
            Self::ReturnDuring => begin_now(world, Fault::SiteLost(0), Some(Duration::from_millis(3500))),
            Self::ReturnAfter => begin_now(world, Fault::Isolated(0), Some(Duration::from_secs(5))),
            Self::DatabaseDead | Self::ThreeOffered => begin_now(world, Fault::ServerKilled(0), None),
            Self::Failback => switch(world, &policy, 1, 0),
            Self::ArbiterRestored => {
                // The backup is from before a role moved.
                world.plan(When::At(world.now + Duration::from_secs(3)), Fault::ArbiterRestored, None);
                switch(world, &policy, 0, 1);
            }
            Self::Held => {
                hold(world, &policy);
                let at = world.now + Duration::from_secs(1);
                world.plan(When::At(at), Fault::SiteLost(0), Some(Duration::from_secs(6)));
            }
            Self::BothLost => {
                begin_now(world, Fault::SiteLost(0), Some(Duration::from_secs(14)));
                let at = world.now + Duration::from_millis(300);
                world.plan(When::At(at), Fault::SiteLost(1), Some(Duration::from_millis(700)));
            }
            Self::NodeLost => begin_now(world, Fault::NodeLost(0), Some(Duration::from_secs(14))),
            Self::Cooldown => begin_now(world, Fault::SiteLost(1), Some(Duration::from_secs(6))),
            Self::Neighbours => {
                if let Some(db) = world.policies.get(1).and_then(|p| world.database_at(&p.key, 0)) {
                    world.kill_server(db);
                }
            }
            Self::Fleet => begin_now(world, Fault::AllKilled(0), None),
            Self::ThreeSwitchover => switch(world, &policy, 0, 2),
            Self::ThreeFailback => switch(world, &policy, 2, 0),
            Self::ThreeLagging | Self::ThreeRefused => {
                // The line between the first two.
                begin_now(world, Fault::SitesCut, Some(Duration::from_secs(4)));
                let at = world.now + Duration::from_secs(4);
                world.plan(When::At(at), Fault::SiteLost(0), Some(Duration::from_secs(14)));
            }
            Self::TwoOfThreeLost => {
                begin_now(world, Fault::SiteLost(0), Some(Duration::from_secs(12)));
                begin_now(world, Fault::SiteLost(1), Some(Duration::from_secs(6)));
            }
            Self::Quiet => {}
        }
    }

    /// The policies of its world; the first one is the one that it is about.
    pub fn policies(self, policy: &Policy) -> Vec<Policy> {
        let mut policy = policy.clone();
        self.fit(&mut policy);
        let more = match self {
            Self::Neighbours => 1,
            Self::Fleet => FLEET - 1,
            _ => 0,
        };
        let another = |n: usize| {
            let name = object(&format!("other-{n}"));
            let key = PolicyKey { name, ..policy.key.clone() };
            Policy { key, ..policy.clone() }
        };
        let others: Vec<Policy> = (0..more).map(another).collect();
        [policy].into_iter().chain(others).collect()
    }

    /// How often each client of its world writes.
    pub const fn writes_every(self) -> Duration {
        match self {
            Self::Fleet => Duration::from_secs(1),
            _ => Duration::from_millis(50),
        }
    }

    /// Makes of a settled world with its first site active the one in which it begins.
    ///
    /// # Errors
    /// When that world does not settle.
    pub fn prepare(self, world: &mut World) -> Result<(), crate::judge::Unsettled> {
        let policy = world.policies[0].key.clone();
        match self {
            Self::Failback => switch(world, &policy, 0, 1),
            Self::ThreeFailback => switch(world, &policy, 0, 2),
            Self::Cooldown => begin_now(world, Fault::SiteLost(0), Some(Duration::from_secs(5))),
            _ => return Ok(()),
        }
        world.run_for(Duration::from_secs(6));
        world.settle(Duration::from_secs(20))?;
        world.judge.forgets_disturbances();
        Ok(())
    }

    /// The faults that are its own and that no menu has.
    pub fn own_faults(self) -> impl Iterator<Item = Fault> {
        (self == Self::Fleet).then_some(Fault::AllKilled(0)).into_iter()
    }

    /// Whether it is a Move that moves the role.
    pub const fn is_planned(self) -> bool {
        matches!(
            self,
            Self::Switchover | Self::Failback | Self::Rollback | Self::ThreeSwitchover | Self::ThreeFailback
        )
    }

    /// The site that is active when it begins.
    pub const fn begins_at(self) -> usize {
        match self {
            Self::Failback | Self::Cooldown => 1,
            Self::ThreeFailback => 2,
            _ => 0,
        }
    }

    /// How long its faults last at most, from its beginning.
    pub const fn lasts(self) -> Duration {
        match self {
            Self::SiteLost | Self::SiteLostHold | Self::ThreeLost => Duration::from_secs(9),
            Self::ThreeLagging | Self::ThreeRefused => Duration::from_secs(19),
            Self::TwoOfThreeLost => Duration::from_secs(13),
            Self::ReturnDuring | Self::ArbiterRestored => Duration::from_secs(4),
            Self::ReturnAfter => Duration::from_secs(5),
            Self::Held => Duration::from_secs(8),
            Self::BothLost | Self::NodeLost => Duration::from_secs(15),
            Self::Cooldown => Duration::from_secs(7),
            Self::Rollback => Duration::from_secs(27),
            Self::Switchover
            | Self::DatabaseDead
            | Self::Neighbours
            | Self::Fleet
            | Self::ThreeSwitchover
            | Self::ThreeFailback
            | Self::ThreeOffered
            | Self::Quiet
            | Self::Failback => Duration::from_secs(1),
        }
    }

    /// The site that is active at the end when nothing else goes wrong.
    pub const fn ends_at(self) -> usize {
        match self {
            Self::ThreeSwitchover | Self::ThreeLagging | Self::ThreeRefused | Self::TwoOfThreeLost => 2,
            Self::Switchover
            | Self::ThreeLost
            | Self::ThreeOffered
            | Self::SiteLost
            | Self::SiteLostHold
            | Self::ReturnAfter
            | Self::DatabaseDead
            | Self::NodeLost
            | Self::Cooldown
            | Self::Fleet => 1,
            Self::Rollback
            | Self::ReturnDuring
            | Self::ArbiterRestored
            | Self::Held
            | Self::BothLost
            | Self::Neighbours
            | Self::Failback
            | Self::ThreeFailback
            | Self::Quiet => 0,
        }
    }
}

fn begin_now(world: &mut World, fault: Fault, lasts: Option<Duration>) {
    world.plan(When::At(world.now), fault, lasts);
}

fn switch(world: &mut World, policy: &PolicyKey, from: usize, to: usize) {
    let (from, to) = (world.sites[from].name.clone(), world.sites[to].name.clone());
    let epoch = world.record(policy).map(|r| r.epoch);
    let mv = switchover("planned", &from, &to, epoch);
    world.commit_move(policy, &mv);
}

/// How many policies a fleet has.
const FLEET: usize = 1000;

/// A person holds the role for a day.
fn hold(world: &mut World, policy: &PolicyKey) {
    let day = Duration::from_hours(24);
    let until = world.sites[0].machine.wall(world.now).checked_add(day).ok();
    let mv = Move {
        hash: MoveHash("held".to_owned()),
        name: object("held"),
        order: Order::Hold,
        from: None,
        epoch: None,
        serial: None,
        not_before: None,
        not_after: until,
        reason: "work on the power lines".to_owned(),
    };
    world.commit_move(policy, &mv);
}

/// A Move `Switchover`.
pub fn switchover(name: &str, from: &SiteName, to: &SiteName, epoch: Option<u64>) -> Move {
    Move {
        hash: MoveHash(format!("{name} {from} {to} {epoch:?}")),
        name: object(name),
        order: Order::Switchover { to: to.clone() },
        from: Some(from.clone()),
        epoch,
        serial: None,
        not_before: None,
        not_after: None,
        reason: "a kernel update".to_owned(),
    }
}

/// One more site, after all others: like the last one, with an address of its own.
fn one_more_site(policy: &mut Policy) {
    const NAMES: [&str; 3] = ["nice", "lille", "brest"];
    let (Some(last), Some(name)) =
        (policy.sites.last().cloned(), NAMES.into_iter().find_map(|n| new_site(policy, n)))
    else {
        return;
    };
    for database in policy.databases.values_mut() {
        if let Some(instance) = database.instances.get(&last).cloned() {
            database.instances.insert(name.clone(), instance);
        }
    }
    let number = u8::try_from(policy.sites.len() + 1).unwrap_or(u8::MAX);
    for traffic in policy.traffic.values_mut() {
        match traffic {
            Traffic::Dns(dns) => {
                let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
                dns.addresses.insert(name.clone(), vec![address]);
            }
            Traffic::HttpRoute(route) => {
                let backend = Backend { service: object(&format!("web-{name}")), port: 80 };
                route.backends.insert(name.clone(), backend);
            }
        }
    }
    policy.sites.push(name);
}

fn new_site(policy: &Policy, name: &str) -> Option<SiteName> {
    SiteName::try_from(name).ok().filter(|name| !policy.has_site(name))
}

fn object(name: &str) -> ObjectName {
    ObjectName::try_from(name).unwrap_or_else(|_| crate::world::database::move_name())
}

/// A world of this policy in which everything has settled, with its first site active.
///
/// # Errors
/// When it does not settle: the policy does not work even when nothing goes wrong.
pub fn steady(plan: &Plan) -> Result<World, crate::judge::Unsettled> {
    let mut world = World::new(plan);
    world.settle(Duration::from_secs(20))?;
    Ok(world)
}

/// When a world began.
pub const BEGINNING: Moment = Moment(0);
