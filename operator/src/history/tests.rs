//! What people read. The snapshots are meant to be read, too.

use bascule_crds::FailoverPolicyStatus;
use serde_json::json;

use super::{epochs, text, told};
use crate::logbook::files::{Page, merged};
use crate::why::ask::Wanted;
use crate::why::explain::{Beat, Seen};

fn seen(status: Result<Option<FailoverPolicyStatus>, String>) -> Seen {
    let (namespace, name) = ("shop".to_owned(), "shop".to_owned());
    Seen { namespace, name, generation: Some(1), created: None, status, beat: Beat::NotAsked }
}

#[test]
fn a_status_remembers_transitions_with_what_they_cost_and_the_ends_of_moves() {
    let status = json!({
        "site": "lyon", "writtenAt": "2026-11-28T03:02:00Z",
        "lastTransition": { "cause": "SiteLost", "from": "paris", "to": "lyon", "epoch": 5, "startedAt": "2026-11-28T03:01:00Z" },
        "history": [
            { "epoch": 4, "cause": "Switchover", "move": "kernel", "from": "lyon", "to": "paris", "finishedAt": "2026-11-20T12:00:03Z", "ms": 3200 },
            { "epoch": 3, "cause": "Failover", "move": "fire", "from": "paris", "to": "lyon", "finishedAt": "2026-11-19T12:00:03Z", "ms": 61000,
              "dataLoss": { "boundBytes": 2_097_152, "boundMs": 6000, "bytes": 512, "transactions": 7, "savedAt": "lyon:/var/lib/saved" } },
            { "epoch": 2, "cause": "SiteLost", "from": "lyon", "to": "paris", "finishedAt": "2026-11-18T12:00:03Z",
              "dataLoss": { "boundBytes": 2_097_152, "boundMs": 6000 } },
            { "epoch": 1, "cause": "FirstRecord", "to": "lyon", "finishedAt": "2026-11-01T12:00:03Z" },
        ],
        "moves": [
            { "name": "kernel", "hash": "a", "state": "Done", "message": "the role moved from lyon to paris (epoch 4)" },
            { "name": "again", "hash": "b", "state": "Stale", "message": "it names epoch 2" },
        ],
    });
    let status: FailoverPolicyStatus = serde_json::from_value(status).unwrap();
    let now: jiff::Timestamp = "2026-11-28T03:02:10Z".parse().unwrap();
    let all = [
        told::of(&seen(Ok(Some(status.clone()))), now),
        told::of(&seen(Ok(None)), now),
        told::of(&seen(Err("unknown variant `Perhaps`".to_owned())), now),
    ];
    insta::assert_snapshot!("whole", text::whole(&all));
    let hour = jiff::SignedDuration::from_hours(1);
    let old = text::whole(&[told::of(&seen(Ok(Some(status))), now + hour)]);
    assert!(old.contains("; what came later is not known here: ask another site)"), "{old}");
    let documented = include_str!("../../../docs/cli.md");
    let value = serde_json::to_value(&all[0]).unwrap();
    let fields = value.as_object().unwrap().keys().chain(value["transitions"][0].as_object().unwrap().keys());
    for field in fields {
        assert!(documented.contains(&format!("`{field}`")), "docs/cli.md does not say what {field} is");
    }
}

#[test]
fn journals_of_several_sites_tell_when_each_epoch_began() {
    let page =
        |name: &str, text: &str| Page { path: name.into(), text: text.to_owned(), day: None, alone: false };
    let pages = [
        page(
            "lyon.log",
            "2026-11-28T03:00:02.000Z lyon shop/shop epoch=4 serial=13 outcome: lyon takes the role\n2026-11-28T03:00:05.000Z lyon shop/shop epoch=4 serial=14 outcome: open\n",
        ),
        page(
            "paris.log",
            "2026-11-27T12:00:00.000Z paris shop/shop epoch=0 serial=0 observed: no record\n2026-11-27T12:00:01.000Z paris shop/shop epoch=3 serial=12 outcome: paris is active\n2026-11-28T03:00:01.000Z paris - epoch=0 serial=0 observed: the site\n2026-11-28T03:00:09.000Z paris eu/shop epoch=9 serial=1 outcome: other\n",
        ),
    ];
    let lines = merged(&pages);
    let one = Wanted::One { namespace: Some("shop".to_owned()), name: "shop".to_owned() };
    insta::assert_snapshot!("epochs", text::epochs(&epochs::of(&lines, &one)));
    assert_eq!(epochs::of(&lines, &Wanted::All { namespace: None }).len(), 2);
    let none = Wanted::One { namespace: None, name: "blog".to_owned() };
    assert!(text::epochs(&epochs::of(&lines, &none)).contains("no epoch of such a policy"));
}
