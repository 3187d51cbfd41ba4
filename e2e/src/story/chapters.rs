//! The chapters: what is done, what is seen, what is claimed of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::{LastTransition, MoveState};

use super::{Claims, Teller};
use crate::client::{Client, History, Kind, Outcome, Stamp};
use crate::progress::seconds;
use crate::shop::{INSTALL, MoveText, PolicyText, Shop, View, saved_commits};
use crate::world::OperatorOptions;
use crate::world::Place::{self, Lyon, Paris};
use crate::world::place::POSTGRES_PORT;

/// How long a transition of the story may take before it has failed.
const TRANSITION: Duration = Duration::from_secs(40);
/// How long a site may take from power to a following standby.
const RETURN: Duration = Duration::from_secs(90);
/// What a thin line lets through, in bytes a second: less than the client writes.
const THIN_LINE: u64 = 12_000;
/// How far the standby has to be behind before the site dies.
const LAG: u64 = 40_000;

/// The story as far as it was told.
pub(super) struct Story<'a> {
    shop: Shop<'a>,
    teller: &'a Teller,
    client: Client,
    claims: Claims,
    /// The commit that added the first Move.
    first_move: String,
    /// Acknowledged rows that were lost with lyon.
    lost: usize,
    /// Lines of the journals that were shown already, by site.
    told: [usize; 2],
}

impl<'a> Story<'a> {
    pub(super) async fn begin(shop: Shop<'a>, teller: &'a Teller) -> Result<Story<'a>> {
        teller.chapter("1. First apply: paris writes, lyon follows");
        shop.install(&PolicyText::default()).await?;
        teller.say("the policy is in git; each site has its operator, database, web application");
        let seen = shop.steady(Paris, INSTALL).await?;
        let client = Client::start(&shop.published());
        client.works_at(Kind::Write, "paris", Stamp::now(), TRANSITION).await?;
        let mut claims = Claims::default();
        for view in &seen.views {
            teller.say(&format!("{} says: {}", view.site, view.message()));
            teller.detail(&describe(view));
        }
        let [paris, lyon] = [&seen.views[0], &seen.views[1]];
        claims.judge(
            "both sites act by the same policy from git",
            format!("spec {}", paris.status.spec_hash.as_deref().unwrap_or("unknown")),
            paris.status.spec_hash.is_some() && paris.status.spec_hash == lyon.status.spec_hash,
        );
        claims.judge(
            "paris was adopted as primary, lyon was cloned and follows",
            format!("epoch {}, lag {}", paris.epoch(), paris.status.lag.as_deref().unwrap_or("Unknown")),
            paris.active() == Some(Paris) && lyon.active() == Some(Paris),
        );
        let mut story =
            Self { shop, teller, client, claims, first_move: String::new(), lost: 0, told: [0, 0] };
        story.journal();
        Ok(story)
    }

    pub(super) async fn the_move_to_lyon(&mut self) -> Result<()> {
        self.teller.chapter("2. A merged file moves the role to lyon");
        let before = self.shop.view(Paris).await?;
        let text = MoveText::switchover("to-lyon", Paris, Lyon, before.epoch(), "kernel update in paris");
        let from = Stamp::now();
        self.first_move = self.shop.commit_move(&text)?;
        self.teller.say("a commit adds a Move to lyon");
        self.client.works_at(Kind::Write, "lyon", from, TRANSITION).await?;
        self.teller.say("the client writes in lyon");
        let seen = self.shop.steady(Lyon, TRANSITION).await?;
        self.transition(&seen.views[1]);
        let history = self.client.history();
        let rows = self.shop.rows(Lyon).await?;
        let (lost, twice) = (history.lost(&rows).len(), history.written_twice(&rows).len());
        let acked = history.acked().count();
        self.claims.judge(
            "planned move: no acknowledged row lost, none written twice",
            format!("{acked} acknowledged, {lost} lost, {twice} twice"),
            lost == 0 && twice == 0 && acked > 0,
        );
        self.one_writer("planned move: one writer at a time", &history, &["paris", "lyon"]);
        let last = seen.views[1].status.last_transition.clone().unwrap_or_default();
        let pause = last.write_pause_ms.map_or_else(|| "not measured".to_owned(), |ms| format!("{ms} ms"));
        let users = history.longest_gap(Kind::Write, from, Stamp::now()).length();
        let readers = history.longest_gap(Kind::Read, from, Stamp::now()).length();
        self.teller.say(&format!(
            "write pause at the database: {pause}; by the published name no write for {} ms, no read for {} ms",
            users.as_millis(),
            readers.as_millis()
        ));
        self.claims.judge(
            "planned move: the write pause that Bascule reports, no longer than what users saw",
            format!("{pause} of {} ms", users.as_millis()),
            last.write_pause_ms.is_some_and(|ms| u128::from(ms) <= users.as_millis()),
        );
        Ok(())
    }

    pub(super) async fn lyon_dies(&mut self) -> Result<()> {
        self.teller.chapter("3. Lyon dies whole, its standby behind");
        let world = self.shop.world();
        world.limit(Lyon, Paris, POSTGRES_PORT, THIN_LINE)?;
        let behind = self.shop.falls_behind(Lyon, LAG, TRANSITION).await?;
        self.teller.say(&format!("the line to paris is thin: paris is {behind} bytes behind"));
        world.kill(Lyon)?;
        let dead = Stamp::now();
        // What waits in the line's queue is lost with it.
        world.unlimit(Paris)?;
        self.teller.say("lyon has lost its power");
        let read = self.client.works_at(Kind::Read, "paris", dead, TRANSITION).await?;
        let reads_back = read.end.since(dead);
        self.teller.say(&format!("reads are answered by paris, {} after", seconds(reads_back)));
        let refused = self
            .client
            .wait_for("write that paris refuses as read-only", TRANSITION, |a| {
                a.kind == Kind::Write
                    && a.start >= dead
                    && matches!(&a.outcome, Outcome::Refused(why) if why.contains("paris: read-only"))
            })
            .await;
        let write = self.client.works_at(Kind::Write, "paris", dead, TRANSITION).await?;
        let writes_back = write.end.since(dead);
        self.teller.say(&format!("writes are taken by paris, {} after", seconds(writes_back)));
        let steady = |v: &View| {
            ensure!(v.phase() == "Steady" && v.active() == Some(Paris), "{}: {}", v.phase(), v.message());
            Ok(())
        };
        let view = self.shop.view_when(Paris, "paris to be the active site", TRANSITION, steady).await?;
        self.transition(&view);
        self.claims.judge(
            "site lost: reads come back first, writes get a correct refusal meanwhile",
            format!("reads after {}, writes after {}", seconds(reads_back), seconds(writes_back)),
            reads_back < writes_back && refused.is_ok(),
        );
        let loss = view.status.last_transition.as_ref().and_then(|t| t.data_loss.clone());
        let bound = loss.as_ref().and_then(|l| l.bound_bytes.zip(l.bound_ms));
        self.claims.judge(
            "site lost: promoted because the loss is within maxDataLoss",
            bound.map_or_else(
                || "no bound was judged".to_owned(),
                |(bytes, ms)| format!("at most {bytes} bytes known, {ms} ms unseen"),
            ),
            bound.is_some_and(|(bytes, ms)| bytes <= 16 << 20 && ms <= 20_000),
        );
        Ok(())
    }

    pub(super) async fn lyon_returns(&mut self) -> Result<()> {
        self.teller.chapter("4. Lyon comes back");
        let world = self.shop.world();
        world.boot(Lyon).await?;
        self.teller.say("lyon has power again; its database waits for a role");
        world.start_operator(Lyon, &OperatorOptions::default())?;
        let seen = self.shop.steady(Paris, RETURN).await?;
        self.teller.say(&format!("lyon says: {}", seen.views[1].message()));
        self.journal();
        let history = self.client.history();
        let rows = self.shop.rows(Paris).await?;
        let lost = history.lost(&rows);
        self.lost = lost.len();
        let saved = self.shop.saved(Lyon)?.context("the guard of lyon has saved nothing")?;
        let commits = saved_commits(&self.shop.saved_folder(Lyon, &saved)?, &saved)?;
        let missing = lost
            .iter()
            .filter(|a| !matches!(&a.outcome, Outcome::Acked { xid, .. } if commits.contains(xid)))
            .count();
        let last = seen.views[0].status.last_transition.clone().unwrap_or_default();
        let reported = last.data_loss.as_ref().and_then(|l| l.transactions);
        self.teller.say(&format!(
            "lyon saved {} transactions past {} ({} bytes) and rewound; {} of them had been acknowledged",
            saved.transactions,
            saved.fork,
            saved.bytes,
            lost.len()
        ));
        self.claims.judge(
            "the lost rows are more than zero, and each is in the saved log",
            format!("{} lost, {missing} not found among {} saved commits", lost.len(), commits.len()),
            !lost.is_empty() && missing == 0,
        );
        self.claims.judge(
            "the loss that Bascule reports covers them",
            reported.map_or_else(|| "not reported".to_owned(), |n| format!("{n} transactions reported")),
            reported.is_some_and(|n| n >= lost.len() as u64),
        );
        self.one_writer("lyon came back and took not one write", &history, &["paris", "lyon", "paris"]);
        Ok(())
    }

    pub(super) async fn the_same_commit_again(&mut self) -> Result<()> {
        self.teller.chapter("5. The same commit reverted and applied again; failback by a new Move");
        let git = self.shop.world().git();
        let before = self.shop.view(Paris).await?;
        let revert = git.revert(&self.first_move)?;
        self.both_took(&revert).await?;
        self.teller.say("the commit with the first Move is reverted");
        let again = git.revert(&revert)?;
        self.both_took(&again).await?;
        self.teller.say("and applied again");
        let message = self.shop.move_ended(Paris, "to-lyon", MoveState::Done, TRANSITION).await;
        let after = self.shop.view(Paris).await?;
        let words = message.as_ref().map_or_else(|e| format!("{e:#}"), Clone::clone);
        self.teller.say(&format!("status of the Move: Done: {words}"));
        self.claims.judge(
            "the same Move applied again does nothing, and status says why",
            format!("epoch {} before, {} after", before.epoch(), after.epoch()),
            before.epoch() == after.epoch() && after.active() == Some(Paris) && message.is_ok(),
        );
        let text = MoveText::switchover("back-to-lyon", Paris, Lyon, after.epoch(), "lyon is healthy again");
        let from = Stamp::now();
        self.shop.commit_move(&text)?;
        self.teller.say("a new Move asks for lyon");
        self.client.works_at(Kind::Write, "lyon", from, TRANSITION).await?;
        let seen = self.shop.steady(Lyon, TRANSITION).await?;
        self.transition(&seen.views[1]);
        self.claims.judge(
            "failback by a new Move",
            format!("lyon active, epoch {}", seen.views[1].epoch()),
            seen.views[1].epoch() == after.epoch() + 1,
        );
        Ok(())
    }

    pub(super) async fn end(self) -> Result<Claims> {
        self.teller.chapter("6. What was claimed and what was measured");
        let history = self.client.stop().await;
        let rows = self.shop.rows(Lyon).await?;
        let (lost, twice) = (history.lost(&rows).len(), history.written_twice(&rows).len());
        let refused = history.refused_but_written(&rows).len();
        let mut claims = self.claims;
        claims.judge(
            "over the whole story: nothing lost but what died with lyon, nothing twice",
            format!(
                "{} acknowledged, {lost} lost ({} with lyon), {twice} twice, {refused} refused yet written",
                history.acked().count(),
                self.lost
            ),
            lost == self.lost && twice == 0 && refused == 0,
        );
        let order = ["paris", "lyon", "paris", "lyon"];
        let one = history.one_writer_at_a_time(&order);
        claims.judge(
            "over the whole story: one writer at a time",
            one.as_ref().map_or_else(ToString::to_string, |()| order.join(", then ")),
            one.is_ok(),
        );
        Ok(claims)
    }

    fn one_writer(&mut self, text: &str, history: &History, order: &[&str]) {
        let result = history.one_writer_at_a_time(order);
        let measured = result.as_ref().map_or_else(ToString::to_string, |()| order.join(", then "));
        self.claims.judge(text, measured, result.is_ok());
    }

    async fn both_took(&self, commit: &str) -> Result<()> {
        for site in Place::SITES {
            self.shop.took(site, commit, TRANSITION).await?;
        }
        Ok(())
    }

    /// What status says of the last transition, and the journal's lines since the last look.
    fn transition(&mut self, view: &View) {
        self.teller.say(&format!("{} says: {}", view.site, view.message()));
        if let Some(last) = &view.status.last_transition {
            self.teller.detail(&phases(last));
        }
        self.journal();
    }

    fn journal(&mut self) {
        for (told, site) in self.told.iter_mut().zip(Place::SITES) {
            let lines = self.shop.journal(site);
            for line in lines.iter().skip(*told) {
                self.teller.detail(&format!("journal: {line}"));
            }
            *told = lines.len();
        }
    }
}

fn describe(view: &View) -> String {
    let status = &view.status;
    let mut lines = vec![format!(
        "active {}, phase {}, epoch {}, lag {}",
        status.active_site.as_deref().unwrap_or("nobody"),
        view.phase(),
        view.epoch(),
        status.lag.as_deref().unwrap_or("Unknown"),
    )];
    lines.extend(view.blocking().into_iter().map(|b| format!("waits: {b}")));
    lines.join("\n")
}

fn phases(last: &LastTransition) -> String {
    let times = last.phases.iter().map(|p| format!("{} {} ms", p.name, p.ms)).collect::<Vec<_>>();
    format!("{} to {} ({}): {}", last.from.as_deref().unwrap_or("?"), last.to, last.cause, times.join(", "))
}
