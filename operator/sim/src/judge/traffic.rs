//! Users are sent only where the record sends them, and where they can be served (S6).

use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::record::Phase;

use super::Invariant;
use crate::world::World;
use crate::world::dns::Pointed;

/// An update may be on its way for as long as its sender waits for the answer, and a little longer.
const ON_ITS_WAY: Duration = Duration::from_secs(6);

impl World {
    /// A name, or the route of the site `of`, was pointed at a site: by a record that there was, at a site that it sends users to, and whose database took
    /// writes unless it serves reads.
    pub(crate) fn judge_pointed(&mut self, name: &(PolicyKey, ItemName), of: Option<usize>, to: &Pointed) {
        let target = (name.clone(), of);
        let mine = self.judge.changes.iter().filter(|(_, key, _)| *key == name.0);
        let carried = mine.clone().find(|(_, _, r)| (r.epoch, r.serial) == (to.epoch, to.serial));
        let recently = mine.rev().scan(true, |goes_on, (at, _, record)| {
            // What was so until a moment ago was so within that moment, too.
            let now = *goes_on;
            *goes_on = self.now.since(*at) < ON_ITS_WAY;
            now.then_some(record.as_ref())
        });
        let sends = |r: &&bascule_core::record::Record| match r.phase {
            Phase::ReadOnly | Phase::Returning => r.target.as_ref() == Some(&to.site) || r.active == to.site,
            _ => r.active == to.site,
        };
        let sent: Vec<_> = recently.filter(sends).map(|r| r.phase.clone()).collect();
        if carried.is_none() {
            let what = format!(
                "traffic carries epoch {}, serial {}, and there was no such record",
                to.epoch, to.serial
            );
            self.judge.breaks(self.now, Invariant::S6, what);
        }
        // An update that comes late and finds the name where it wants it changes nothing for users, and its mark is lower than
        // that of whoever has the role now.
        let stays = self.judge.pointed.get(&target).is_some_and(|before| before.site == to.site);
        if sent.is_empty() && stays {
            return;
        }
        // A route is written by nobody but its own site: what a site that stood still had sent, no later mark turns away.
        // It leads there for as long as its operator takes to read the record.
        let late = of.is_some_and(|of| {
            self.judge.disturbed.site_stood_still_since(of, self.now, ON_ITS_WAY)
                && self.site_of(&to.site) == Some(of)
        });
        if sent.is_empty() && late {
            return;
        }
        if sent.is_empty() {
            let what = format!("traffic was pointed at {}, where no record sends it", to.site);
            self.judge.breaks(self.now, Invariant::S6, what);
            return;
        }
        // The first address of a name comes from nowhere: users lose nothing by it.
        if self.judge.pointed.get(&target).is_none_or(|before| before.site == to.site) {
            return;
        }
        let reads = sent.iter().any(|p| matches!(p, Phase::ReadOnly | Phase::Returning));
        let site = self.site_of(&to.site);
        // It may have been stopped since: what counts is that this hold has opened it.
        let wrote = site
            .and_then(|s| self.database_at(&name.0, s))
            .is_some_and(|db| self.databases[db].server.opened_in == to.epoch);
        if !reads && !wrote {
            let what = format!(
                "traffic was pointed at {} before its database took writes in epoch {}",
                to.site, to.epoch
            );
            self.judge.breaks(self.now, Invariant::S6, what);
        }
    }
}
