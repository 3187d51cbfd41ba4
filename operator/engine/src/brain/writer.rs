//! May clients be sent to this site to write?

use std::time::Duration;

use bascule_core::guard::wire::ServerState;
use bascule_core::name::PolicyKey;
use bascule_core::time::Boottime;

use super::Brain;
use super::policy::State;

impl Brain {
    /// Whether a proxy may send the writes of a policy's clients to this site at `now`: the site has the role, its lease
    /// lasts, and each of its databases is open. The error says why not, for the person who looks at the proxy.
    ///
    /// It decides nothing: a database refuses writes by its guard's deadline, whoever sends them. A guard that was given
    /// leave and is not connected at the moment is taken at the leave's word, so that a restart of the operator's
    /// connection does not cut sessions of a healthy database.
    pub fn takes_writes(&self, policy: &PolicyKey, now: Boottime) -> Result<(), String> {
        let state = self.policies.get(policy).filter(|s| s.policy.is_some());
        let Some((state, spec)) = state.and_then(|s| Some((s, s.policy.as_ref()?))) else {
            return Err(format!("no valid policy {policy} is known in {}", self.id.site));
        };
        let managed = !spec.suspend && spec.has_site(&self.id.site);
        state.claim.grant_as(&self.holder, &self.id.site, now, managed).map_err(|e| e.to_string())?;
        let lasts = self.id.installation.timing.r();
        for (name, database) in &spec.databases {
            if database.instances.contains_key(&self.id.site) {
                is_open(state, name, now, lasts).map_err(|why| format!("{name}: {why}"))?;
            }
        }
        Ok(())
    }
}

fn is_open(
    state: &State,
    database: &bascule_core::name::ItemName,
    now: Boottime,
    lasts: Duration,
) -> Result<(), String> {
    if let Some((report, received)) = state.guards.get(database).and_then(|g| g.report.as_ref()) {
        return match (&report.state, now.since(*received)) {
            (ServerState::Primary { open: true }, age) if age < lasts => Ok(()),
            (ServerState::Primary { open: true }, age) => {
                Err(format!("its guard has said nothing for {} ms", age.as_millis()))
            }
            (other, _) => Err(format!("its server is {}", bascule_core::decide::state_words(other))),
        };
    }
    let granted = state.seen.databases.get(database).and_then(|d| d.granted.values().max().copied());
    match granted.map(|at| now.since(at)) {
        Some(age) if age < lasts => Ok(()),
        _ => Err("its guard is not connected".to_owned()),
    }
}
