//! One schedule after the other, on a world that is kept while it is healthy.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::kept::keep;
use super::play::play;
use super::schedule::Schedule;
use crate::progress::seconds;
use crate::scenario::Stage;
use crate::world::Options;

/// A schedule to play.
pub struct Next {
    /// Its name in file names and object names.
    pub name: String,
    /// How the same is played again.
    pub again: String,
    /// What.
    pub schedule: Schedule,
    /// Whether its file is kept already.
    pub kept: bool,
}

/// Plays schedules until there is none or the time is over; answers how many passed, and the names of those that
/// failed.
pub async fn torture(
    schedules: impl Iterator<Item = Next>,
    time: Option<Duration>,
    mut failed_one: impl FnMut(&Next) -> Result<()>,
) -> Result<(usize, Vec<String>)> {
    let begin = Instant::now();
    let mut stage: Option<Stage> = None;
    let (mut passed, mut failed) = (0, Vec::new());
    for (number, next) in schedules.enumerate() {
        if number > 0 && time.is_some_and(|time| begin.elapsed() >= time) {
            break;
        }
        let ready = match stage.take() {
            Some(stage) => stage,
            None => Box::pin(a_world()).await?,
        };
        let Next { name, again, schedule, .. } = &next;
        println!("\n{} schedule {name} ({again})\n{schedule}", seconds(begin.elapsed()));
        std::io::stdout().flush()?;
        // The names of its Moves begin with it, and such a name has 63 characters at most.
        let short: String = name.chars().take(SHORT_NAME).collect();
        let played = Box::pin(play(&ready, schedule, &format!("t{short}-{number}"))).await;
        match &played.error {
            None => {
                passed += 1;
                println!("schedule {name}: ok; settled within {}", seconds(played.settled));
                stage = Some(ready);
            }
            Some(e) => {
                println!("schedule {name}: FINDING: {e:#}");
                match keep(ready.world(), &format!("torture/{name}"), &schedule.to_string(), &played) {
                    Ok(folder) => println!("everything about it is in {}\nagain: {again}", folder.display()),
                    Err(e) => println!("what explains it could not be kept: {e:#}"),
                }
                failed_one(&next)?;
                failed.push(name.clone());
                ready.down()?;
            }
        }
    }
    if let Some(stage) = stage {
        stage.down()?;
    }
    println!("\n{passed} schedules passed, {} failed, in {}", failed.len(), seconds(begin.elapsed()));
    for name in &failed {
        println!("FAILED: {name}");
    }
    Ok((passed, failed))
}

/// What is left of a schedule's name in the names of objects.
const SHORT_NAME: usize = 20;
/// How often a world is brought up before it is given up: on a busy machine its own parts may time out.
const WORLDS: usize = 3;

async fn a_world() -> Result<Stage> {
    let mut tried = 1;
    loop {
        match Box::pin(Stage::up_with(Options { clocks: true, ..Options::default() })).await {
            Ok(stage) => return Ok(stage),
            Err(e) if tried < WORLDS => println!("no world yet: {e:#}"),
            Err(e) => return Err(e.context(format!("no world to play in, tried {WORLDS} times"))),
        }
        tried += 1;
    }
}
