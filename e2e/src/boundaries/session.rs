//! All flows, all deaths, one after the other in a world that is kept while it is healthy; and what was found, as a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bascule_boundary::Effect;

use super::case::{Came, Case, learn, play};
use super::excuse::excuse;
use super::flow::Flow;
use crate::progress::seconds;
use crate::scenario::Stage;
use crate::share::Share;
use crate::torture::{Played, keep};
use crate::world::Options;

/// How often a flow is learnt before it is given up: without a death in it, it has to work.
const LESSONS: usize = 2;

/// Which cases are played.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Only those whose words hold all of these.
    words: Vec<String>,
    /// Of these only a share.
    share: Option<Share>,
}

impl FromStr for Chosen {
    type Err = String;

    /// Words, and `n/m`: the n-th of m shares.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut chosen = Self::default();
        for word in text.split_whitespace() {
            if word.contains('/') {
                chosen.share = Some(word.parse()?);
            } else {
                chosen.words.push(word.to_owned());
            }
        }
        Ok(chosen)
    }
}

impl Chosen {
    fn takes(&self, number: usize, case: &Case) -> bool {
        let words = case.to_string();
        self.words.iter().all(|word| words.contains(word.as_str()))
            && self.share.is_none_or(|share| share.takes(number))
    }

    /// A flow that no chosen case can belong to is not played.
    fn may_take(&self, flow: Flow) -> bool {
        let of_another = |word: &String| Flow::ALL.iter().any(|f| *f != flow && f.to_string() == *word);
        !self.words.iter().any(of_another)
    }

    fn is_everything(&self) -> bool {
        self.words.is_empty()
    }
}

/// One line of the table.
struct Row {
    case: String,
    result: String,
}

/// Plays the chosen cases, for as long as there is time to begin one. Answers whether all was well.
pub async fn session(chosen: &Chosen, time: Option<Duration>) -> Result<bool> {
    let begin = Instant::now();
    let late = || time.is_some_and(|time| begin.elapsed() >= time);
    let mut theatre = Theatre { stage: None, number: 0 };
    let (mut rows, mut once) = (Vec::new(), Vec::new());
    let (mut passed, mut failed) = (BTreeSet::new(), 0);
    let mut number = 0;
    for flow in Flow::ALL.into_iter().filter(|flow| chosen.may_take(*flow)) {
        if late() {
            break;
        }
        let cases = theatre.learn(flow).await?;
        passed.extend(cases.iter().map(|case| case.at.effect));
        println!("\n{flow} passes {} boundaries:", cases.len());
        for case in &cases {
            println!("  {case}");
        }
        for case in &cases {
            number += 1;
            if !chosen.takes(number, case) || late() {
                continue;
            }
            let result = match theatre.play(case, begin).await? {
                // It comes too late, or not every time: once more at whatever moment it comes.
                Ok(Came::NotPassed) if case.after.is_some() => {
                    theatre.play(&Case { after: None, ..case.clone() }, begin).await?
                }
                // The machine may be to blame: what happens twice is a finding, what happened once is told.
                Err(why) => match theatre.play(case, begin).await? {
                    Ok(came) => {
                        once.push(format!("{case}: {why}"));
                        Ok(came)
                    }
                    Err(again) => Err(format!("{why}; and again: {again}")),
                },
                other => other,
            };
            failed += usize::from(result.is_err());
            let result = result.map_or_else(|e| format!("FINDING: {e}"), Came::words);
            println!("case {case}: {result}");
            rows.push(Row { case: case.to_string(), result });
        }
    }
    theatre.down()?;
    print!("\n{}", table(&rows));
    let mut never = Vec::new();
    if chosen.is_everything() && !late() {
        never = Effect::ALL.iter().filter(|e| !passed.contains(e) && excuse(**e).is_none()).collect();
    }
    for effect in &never {
        println!(
            "NEVER PASSED: {}: play a flow that passes it, or say in excuse.rs why none does",
            effect.name()
        );
    }
    for effect in passed.iter().filter(|e| excuse(**e).is_some()) {
        println!("excused, but passed: {}", effect.name());
    }
    for told in &once {
        println!("ONCE, and not when it was played again: {told}");
    }
    println!("\n{} deaths, {failed} findings, in {}", rows.len(), seconds(begin.elapsed()));
    Ok(failed == 0 && never.is_empty())
}

/// The world, and how many flows were played in it.
struct Theatre {
    stage: Option<Stage>,
    number: usize,
}

impl Theatre {
    async fn ready(&mut self) -> Result<Stage> {
        match self.stage.take() {
            Some(stage) => Ok(stage),
            None => Box::pin(Stage::up_with(Options { boundaries: true, ..Options::default() })).await,
        }
    }

    fn name(&mut self) -> String {
        self.number += 1;
        format!("b{}", self.number)
    }

    fn down(&mut self) -> Result<()> {
        self.stage.take().map_or(Ok(()), Stage::down)
    }

    async fn learn(&mut self, flow: Flow) -> Result<Vec<Case>> {
        let mut last = anyhow::anyhow!("not tried");
        for _ in 0..LESSONS {
            let (stage, name, mut played) = (self.ready().await?, self.name(), Played::default());
            println!("\nflow {flow}, without a death");
            match Box::pin(learn(&stage, flow, &name, &mut played)).await {
                Ok(cases) => {
                    self.stage = Some(stage);
                    return Ok(cases);
                }
                Err(e) => {
                    last = e;
                    println!("it failed: {last:#}");
                    kept(&stage, &format!("boundaries/{flow}"), &flow.to_string(), &mut played, &last);
                    stage.down()?;
                }
            }
        }
        Err(last.context(format!("{flow} does not work without a death in it")))
    }

    /// Answers what became of it, or what was wrong with it.
    async fn play(&mut self, case: &Case, begin: Instant) -> Result<Result<Came, String>> {
        let (stage, name, mut played) = (self.ready().await?, self.name(), Played::default());
        println!("\n{} case {case}", seconds(begin.elapsed()));
        std::io::stdout().flush()?;
        match Box::pin(play(&stage, case, &name, &mut played)).await {
            Ok(came) => {
                self.stage = Some(stage);
                Ok(Ok(came))
            }
            Err(e) => {
                let folder = format!("boundaries/{}", case.to_string().replace([' ', '(', ')'], "_"));
                kept(&stage, &folder, &case.to_string(), &mut played, &e);
                stage.down().context("after a finding")?;
                Ok(Err(format!("{e:#}")))
            }
        }
    }
}

fn kept(stage: &Stage, folder: &str, what: &str, played: &mut Played, error: &anyhow::Error) {
    played.error = Some(anyhow::anyhow!("{error:#}"));
    match keep(stage.world(), folder, what, played) {
        Ok(folder) => println!("everything about it is in {}", folder.display()),
        Err(e) => println!("what explains it could not be kept: {e:#}"),
    }
}

fn table(rows: &[Row]) -> String {
    let wide = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Row { case, result } in rows {
        let _ = writeln!(text, "{case:wide$}  {result}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_from_words_and_a_wrong_one_is_refused() {
        let chosen: Chosen = "switchover guard 2/5".parse().unwrap();
        assert_eq!(chosen.words, ["switchover", "guard"]);
        assert_eq!(chosen.share, Some("2/5".parse().unwrap()));
        assert!(chosen.may_take(Flow::Switchover) && !chosen.may_take(Flow::Offered));
        for wrong in ["0/5", "6/5", "a/b"] {
            assert!(wrong.parse::<Chosen>().unwrap_err().contains(wrong));
        }
    }
}
