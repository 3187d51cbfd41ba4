//! A world that is brought to where another one stands, and what a changed policy names in it.

use std::collections::BTreeMap;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::policy::{Policy, Workload};
use bascule_core::record::Record;
use jiff::Timestamp;

use super::World;
use super::arbiter::{Answer, Caller, Request};
use super::cluster::App;

impl World {
    /// Others' writes have made this of the record; its serial grows by one at least. `false`: there is no record, or
    /// its operator is gone.
    pub(crate) fn others_write(&mut self, policy: &PolicyKey, change: impl FnOnce(&mut Record)) -> bool {
        let Some((record, revision)) = self.arbiter.store.records.get(policy).cloned() else { return false };
        let Some(op) = self.operators.iter().position(|o| self.sites[o.site].name == record.active) else {
            return false;
        };
        let serial = record.serial + 1;
        let mut next = record;
        change(&mut next);
        next.serial = next.serial.max(serial);
        let request = Request::Write {
            policy: policy.clone(),
            expected: Some(revision),
            next: Box::new(next),
            unchanged_lease: None,
        };
        let (answer, changed) = self.arbiter.store.decide(&request);
        if let Some(changed) = changed {
            self.changed(Caller::Operator(op, self.operators[op].life), &changed);
        }
        matches!(answer, Answer::Written(_))
    }

    /// Every wall clock shows this time now.
    pub(crate) fn set_clocks(&mut self, wall: Timestamp) {
        let now = self.now;
        for site in &mut self.sites {
            let by = wall.duration_since(site.machine.wall(now));
            site.machine.step_wall(i64::try_from(by.as_micros()).unwrap_or_default());
        }
    }

    /// What a changed policy names is there: servers with guards for new databases, whose data lies at the active site,
    /// and workloads. One that is another object than before, or new, is what `unknown` says.
    pub(crate) fn prepare(
        &mut self,
        before: &Policy,
        after: &Policy,
        active: &SiteName,
        unknown: impl Fn(&SiteName, &ItemName) -> App,
    ) {
        let hash = (after.key.clone(), after.spec_hash.clone());
        for site in 0..self.sites.len() {
            let name = self.sites[site].name.clone();
            let mut apps = BTreeMap::new();
            for (item, workload) in &after.workloads {
                let known = self.sites[site].cluster.apps.get(&(after.key.clone(), item.clone()));
                let was = before.workloads.get(item).zip(known).filter(|_| before.has_site(&name));
                let mut app = match was {
                    Some((was, app)) if (was.kind, &was.name) == (workload.kind, &workload.name) => {
                        app.clone()
                    }
                    _ => unknown(&name, item),
                };
                let flag = was.and_then(|(was, _)| was.read_only.as_ref());
                let same = same_place(flag, workload);
                if !same {
                    let new = unknown(&name, item);
                    (app.flag, app.seen, app.instead) = (new.flag, new.seen, new.instead);
                } else if let Some((old, new)) = flag
                    .and_then(|f| f.place.values())
                    .zip(workload.read_only.as_ref().and_then(|f| f.place.values()))
                {
                    // The words of the policy have changed, the key's content has not.
                    let says = if app.flag { &old.read_only } else { &old.read_write };
                    if *says == new.read_only || *says == new.read_write {
                        app.flag = *says == new.read_only;
                    } else {
                        app.instead = Some(bascule_core::observation::FlagValue::Other(says.clone()));
                    }
                }
                app.flagged = workload.read_only.is_some();
                apps.insert(item.clone(), app);
            }
            self.sites[site].cluster.staged.insert(hash.clone(), apps);
        }
        self.add_databases(after, active);
        self.judge.adopts(after);
        match self.policies.iter_mut().find(|p| p.key == after.key) {
            Some(policy) => policy.clone_from(after),
            None => self.policies.push(after.clone()),
        }
    }
}

/// Whether a flag is in the same place as before.
fn same_place(before: Option<&bascule_core::policy::ReadOnlyFlag>, after: &Workload) -> bool {
    match (before, &after.read_only) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(before), Some(after)) => before.place.is_at(&after.place),
    }
}
