//! Which one of the sites speaks.

use super::Case;
use crate::name::SiteName;
use crate::record::Phase;

/// The site that speaks, as `me` sees it: while reads are served elsewhere the one that serves them, otherwise the active
/// one, and the next in the policy's order where that is known to be silent.
///
/// Two sites may each believe to be the one, while one of them is cut off: both then speak, for two messages are better
/// than none. A site that is not known to be silent is trusted to speak, one that the policy does not name is not.
pub(super) fn speaker<'a>(me: &'a SiteName, case: &'a Case) -> Option<&'a SiteName> {
    let policy = &case.policy;
    let record = case.record.as_ref();
    let serves = record.filter(|r| r.phase == Phase::ReadOnly).and_then(|r| r.target.as_ref());
    let holds = record.map_or(&policy.initial_site, |r| &r.active);
    let speaks = |site: &&SiteName| {
        *site == me || case.sites.iter().any(|row| row.name == **site && row.lives != Some(false))
    };
    serves.into_iter().chain([holds]).chain(&policy.sites).find(speaks)
}
