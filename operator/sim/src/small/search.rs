//! Is there a way to what must never be?

use std::fmt::Write as _;

use super::interned::Known;
use super::setting::{Setting, sites};
use super::world::{About, Do, State, World};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many whole states were met.
    pub states: usize,
    /// How many steps were taken.
    pub steps: u64,
    /// How many states of the arbiter, of operators and of guards they are made of.
    pub parts: [usize; 3],
    /// Every state within so many steps of the start was met.
    pub depth: usize,
    /// Nothing is left: these are all states there are.
    pub closed: bool,
    /// The shortest way to what must never be, in words.
    pub violation: Option<String>,
}

/// Breadth first, so that the first way to a violation is the shortest. An error says why nothing could be searched.
pub fn explore(setting: &Setting) -> Result<Outcome, String> {
    let (mut world, start) = World::quiet(setting)?;
    let mut states = vec![start];
    let mut ways: Vec<(u32, Do)> = vec![(0, Do::Tick)];
    let mut known: Known<State> = Known::default();
    known.insert(start);
    let (mut at, mut level_end, mut depth, mut steps) = (0, 1, 0, 0);
    let mut violation = None;
    'search: while at < states.len() {
        if at == level_end {
            depth += 1;
            level_end = states.len();
            if depth >= setting.limits.depth || states.len() >= setting.limits.states {
                break;
            }
        }
        let s = states[at];
        for (step, next) in world.next(s) {
            steps += 1;
            if !known.insert(next) {
                continue;
            }
            states.push(next);
            ways.push((at as u32, step));
            if let Some(why) = world.wrong(s, next) {
                violation = Some(told(&world, &states, &ways, &why));
                break 'search;
            }
        }
        at += 1;
    }
    let closed = violation.is_none() && at == states.len();
    Ok(Outcome { states: states.len(), steps, parts: world.met(), depth, closed, violation })
}

/// The way to the last state, in words.
fn told(world: &World, states: &[State], ways: &[(u32, Do)], why: &str) -> String {
    let mut path = Vec::new();
    let mut at = states.len() - 1;
    while at != 0 {
        path.push(at);
        at = ways[at].0 as usize;
    }
    path.reverse();
    let mut out = format!("{why}, after {} steps\n", path.len());
    let mut ticks = 0;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  at first: {}", world.words(states[0]));
    for (n, i) in path.into_iter().enumerate() {
        let step = ways[i].1;
        ticks += u32::from(step == Do::Tick);
        let _ =
            writeln!(out, "  {:>3}. t={ticks} {}\n         {}", n + 1, words(step), world.words(states[i]));
    }
    out
}

fn words(step: Do) -> String {
    let site = |x: usize| sites()[x].to_string();
    let about = |a: About| match a {
        About::Renewal => "its renewal",
        About::Leases => "its read of the leases",
        About::Record => "its read of the record",
        About::Write => "its write",
    };
    match step {
        Do::IsRegular(x) => format!("{}: renews, reads the leases, and its guard asks", site(x)),
        Do::Arrives(x, a) => format!("{}: {} arrives at the arbiter", site(x), about(a)),
        Do::Hears(x, a) => format!("{}: the operator hears of {}", site(x), about(a)),
        Do::GivesUp(x, a) => format!("{}: the operator waits no longer for {}", site(x), about(a)),
        Do::Lost(x, a) => format!("FAULT {}: {} is lost", site(x), about(a)),
        Do::Asks(x) => format!("{}: the guard asks", site(x)),
        Do::Answered(x) => format!("{}: the guard hears the answer that was late", site(x)),
        Do::LostOnTheWayBack(x, a) => {
            format!("FAULT {}: {} is done, and the answer is lost", site(x), about(a))
        }
        Do::AsksSlowly(x) => format!("FAULT {}: the guard asks, and the answer will be late", site(x)),
        Do::Stops(x) => format!("{}: the guard stops its server", site(x)),
        Do::GoesOn(x) => format!("{}: the server goes one step on", site(x)),
        Do::CatchesUp(x) => format!("{}: the replica receives everything", site(x)),
        Do::Thaws(x) => format!("{}: the operator goes on", site(x)),
        Do::ArrivesLate(i) => format!("a late write arrives at the arbiter (number {})", i + 1),
        Do::Dies(x) => format!("{}: the server is killed", site(x)),
        Do::Restarts(x) => format!("FAULT {}: the operator restarts", site(x)),
        Do::GuardRestarts(x) => format!("FAULT {}: the guard restarts", site(x)),
        Do::Freezes(x) => format!("FAULT {}: the operator freezes", site(x)),
        Do::Restored => "FAULT the arbiter is put back to a backup".to_owned(),
        Do::Tick
        | Do::AnsweredAtOnce(_)
        | Do::IsTold(_)
        | Do::SaysFacts(_)
        | Do::OperatorMayTick(_)
        | Do::GuardMayTick(_)
        | Do::OperatorTicks(_)
        | Do::GuardTicks(_) => "a tick passes".to_owned(),
    }
}
