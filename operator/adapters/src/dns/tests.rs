//! Against real Knot servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::net::{TcpListener, UdpSocket};

use super::knot::{Knot, OTHER_SECRET, Role, SECRET, free_port, key, mark, site, spec, target};
use super::relay::{Pass, Relay};
use super::wire::{ask_at, connect, over, question, wall};
use super::{Applied, Difference, DnsTarget, DnsTraffic, MarkFound, Published, Refusal, Verification};
use crate::finding::Severity;
use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Dns;

const WAIT: Duration = Duration::from_secs(5);
/// Well below every deadline here, and more than a loaded machine needs.
const QUICK: Duration = Duration::from_millis(1500);

async fn only(target: &DnsTarget) -> Published {
    let Fact::Known { value: mut answers, .. } = target.observe(WAIT).await else {
        panic!("servers unknown")
    };
    assert_eq!(answers.len(), 1, "{answers:?}");
    match answers.remove(0).result {
        Fact::Known { value, .. } => value,
        Fact::Unknown { reason } => panic!("{reason}"),
    }
}

fn done(server: &Knot) -> Applied {
    Applied::Done { server: server.address, changed: true }
}

#[tokio::test]
async fn addresses_of_both_families_and_the_mark_change_together() {
    let knot = Knot::primary("www 60 A 203.0.113.1\nwww 60 A 203.0.113.2\nwww 60 AAAA 2001:db8::1\n");
    let target = target(&[knot.address], &[knot.address]);
    let before = only(&target).await;
    assert_eq!((before.addresses.len(), before.mark, before.soa_serial), (3, MarkFound::None, 1));

    assert_eq!(target.apply(&mark(1, 3, "paris"), WAIT).await, done(&knot));
    let after = only(&target).await;
    assert_eq!(&after.addresses, target.addresses(&site("paris")).unwrap());
    assert_eq!(after.mark, MarkFound::Mark(mark(1, 3, "paris")));
    assert_eq!((after.ttl, after.authoritative), (Some(Duration::from_secs(5)), true));
    assert_eq!(after.soa_serial, 2, "one version of the zone for the whole change");

    assert_eq!(target.apply(&mark(2, 4, "lyon"), WAIT).await, done(&knot));
    assert_eq!(&only(&target).await.addresses, target.addresses(&site("lyon")).unwrap());
    assert!(
        matches!(target.verify(&mark(2, 4, "lyon"), WAIT).await, Verification::Everywhere(s) if s.len() == 1)
    );
}

#[tokio::test]
async fn an_operator_whose_clock_is_an_hour_wrong_signs_with_the_time_of_the_server() {
    let knot = Knot::primary("www 60 A 203.0.113.1\n");
    let deadline = tokio::time::Instant::now() + WAIT;
    let message = question(&"www.shop.example.".parse().unwrap(), RecordType::A);
    let (key, other) = (key(SECRET), key(OTHER_SECRET));
    for wrong in [wall() - 3600, wall() + 3600] {
        let reply = ask_at(knot.address, &message, Some(key.signer()), wrong, deadline).await.unwrap();
        assert_eq!((reply.rcode(), reply.authentic), (ResponseCode::NoError, true), "{}", reply.rcode_text());
        let stream = connect(knot.address, deadline).await.unwrap();
        let reply = over(stream, &message, Some(key.signer()), wrong, deadline).await.unwrap();
        assert_eq!((reply.rcode(), reply.authentic), (ResponseCode::NoError, true), "{}", reply.rcode_text());
        // Whoever has not got the key is told no time, and believed none.
        let stream = connect(knot.address, deadline).await.unwrap();
        let reply = over(stream, &message, Some(other.signer()), wrong, deadline).await.unwrap();
        assert_eq!(
            (reply.rcode(), reply.authentic),
            (ResponseCode::NotAuth, false),
            "{}",
            reply.rcode_text()
        );
    }
}

#[tokio::test]
async fn a_name_that_did_not_exist_is_created() {
    let knot = Knot::primary("");
    let target = target(&[knot.address], &[knot.address]);
    assert!(only(&target).await.addresses.is_empty());
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    assert!(matches!(target.verify(&mark(1, 1, "lyon"), WAIT).await, Verification::Everywhere(_)));
}

#[tokio::test]
async fn an_older_serial_never_overwrites_a_newer_one() {
    let knot = Knot::primary("");
    let target = target(&[knot.address], &[knot.address]);
    assert_eq!(target.apply(&mark(5, 12, "lyon"), WAIT).await, done(&knot));
    for older in [mark(5, 11, "paris"), mark(4, 99, "paris")] {
        let found = mark(5, 12, "lyon");
        let expected = Applied::AlreadyNewer { server: knot.address, found };
        assert_eq!(target.apply(&older, WAIT).await, expected);
    }
    assert_eq!(only(&target).await.soa_serial, 2, "nothing was sent");
}

#[tokio::test]
async fn the_same_change_again_sends_nothing_and_a_hand_edit_is_put_right() {
    let knot = Knot::primary("");
    let target = target(&[knot.address], &[knot.address]);
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    let again = Applied::Done { server: knot.address, changed: false };
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, again);

    knot.control(&["zone-begin", "shop.example."]);
    knot.control(&["zone-set", "shop.example.", "www", "5", "A", "203.0.113.66"]);
    knot.control(&["zone-commit", "shop.example."]);
    assert_eq!(only(&target).await.addresses.len(), 3);
    let Verification::NotYet(differing) = target.verify(&mark(1, 1, "lyon"), WAIT).await else { panic!() };
    assert!(matches!(differing[0].1, Difference::Addresses { .. }), "{differing:?}");
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    assert_eq!(only(&target).await.addresses.len(), 2);
}

#[tokio::test]
async fn the_same_serial_for_another_site_is_refused() {
    let knot = Knot::primary("");
    let target = target(&[knot.address], &[knot.address]);
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    let outcome = target.apply(&mark(1, 1, "paris"), WAIT).await;
    assert!(matches!(outcome, Applied::Refused(Refusal::SameSerialOtherSite { .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_alias_and_a_foreign_txt_record_are_refused_by_name() {
    let alias = Knot::primary("www CNAME elsewhere.example.\n");
    let foreign = Knot::primary("_bascule.www TXT \"hello\"\n");
    let outcome = target(&[alias.address], &[]).apply(&mark(1, 1, "lyon"), WAIT).await;
    let Applied::Refused(refusal @ Refusal::Alias { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(refusal.to_string().contains("elsewhere.example."), "{refusal}");
    let outcome = target(&[foreign.address], &[]).apply(&mark(1, 1, "lyon"), WAIT).await;
    let Applied::Refused(refusal @ Refusal::ForeignMark { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(refusal.to_string().contains("hello"), "{refusal}");
    for (server, code) in [(&alias, "DnsAlias"), (&foreign, "DnsForeignMark")] {
        let findings = target(&[server.address], &[server.address]).preflight(WAIT).await;
        assert!(findings.iter().any(|f| f.code == code && f.severity == Severity::Block), "{findings:?}");
    }
}

#[tokio::test]
async fn of_two_changes_at_the_same_moment_the_loser_is_told() {
    let knot = Knot::primary("");
    // The relay holds the update of the loser back until the winner's has been done.
    let (held, release) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let relay = Relay::start(knot.address).await;
    let (winner, loser) = (target(&[knot.address], &[]), target(&[relay.address], &[]));
    let late = mark(1, 2, "paris");
    let (outcome, ()) = tokio::join!(loser.apply(&late, WAIT), async {
        let serve = relay.serve(|_| async {
            held.notify_one();
            release.notified().await;
            Pass::Forward
        });
        let win = async {
            held.notified().await;
            assert_eq!(winner.apply(&mark(1, 3, "lyon"), WAIT).await, done(&knot));
            release.notify_one();
        };
        tokio::join!(serve, win);
    });
    assert!(
        matches!(&outcome, Applied::Refused(Refusal::Race { rcode, .. }) if rcode == "YXRRSET"),
        "{outcome:?}"
    );
    assert_eq!(
        only(&target(&[knot.address], &[knot.address])).await.mark,
        MarkFound::Mark(mark(1, 3, "lyon"))
    );
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_observing_tells() {
    let knot = Knot::primary("");
    let relay = Relay::start(knot.address).await;
    // A second server stands ready: it must not be asked, for the first may have acted.
    let target = target(&[relay.address, knot.address], &[knot.address]);
    let start = Instant::now();
    let ours = mark(1, 1, "lyon");
    let (outcome, ()) =
        tokio::join!(target.apply(&ours, Duration::from_secs(2)), relay.serve(|_| async { Pass::LoseReply }));
    let Applied::Unknown { server, why } = outcome else { panic!("{outcome:?}") };
    assert_eq!(server, relay.address);
    assert!(why.starts_with("sent, but"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(only(&target).await.mark, MarkFound::Mark(mark(1, 1, "lyon")), "it was done after all");
}

#[tokio::test]
async fn a_forged_reply_is_not_believed() {
    let knot = Knot::primary("");
    let relay = Relay::start(knot.address).await;
    let target = target(&[relay.address], &[knot.address]);
    let ours = mark(1, 1, "lyon");
    let (outcome, ()) = tokio::join!(target.apply(&ours, WAIT), relay.serve(|_| async { Pass::Forge }));
    assert!(
        matches!(&outcome, Applied::Unknown { why, .. } if why.contains("signature is not valid")),
        "{outcome:?}"
    );
    assert_eq!(only(&target).await.mark, MarkFound::None);
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_anything_is_sent_and_named() {
    let knot = Knot::primary("");
    let mut wrong_secret = spec(&[knot.address], &[knot.address]);
    wrong_secret.tsig = key(OTHER_SECRET);
    let mut wrong_name = spec(&[knot.address], &[knot.address]);
    wrong_name.tsig = super::TsigKey::new("nobody", "hmac-sha256", &OTHER_SECRET.into()).unwrap();
    for (spec, text) in [(wrong_secret, "BADSIG"), (wrong_name, "BADKEY")] {
        let target = DnsTarget::new(spec).unwrap();
        let outcome = target.apply(&mark(1, 1, "lyon"), WAIT).await;
        let Applied::Refused(refusal @ Refusal::NoServer(_)) = outcome else { panic!("{outcome:?}") };
        assert!(refusal.to_string().contains(text), "{refusal}");
        let findings = target.preflight(WAIT).await;
        let finding = findings.iter().find(|f| f.code == "DnsKeyRefused").expect("a finding");
        assert!(finding.severity == Severity::Block && finding.found.contains(text), "{finding}");
    }
}

#[tokio::test]
async fn the_second_server_is_used_when_the_first_is_not_primary() {
    let knot = Knot::primary("");
    let closed = Knot::start((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into(), &Role::Closed, "");
    let down: SocketAddr = (Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into();
    let target1 = target(&[closed.address, down, knot.address], &[knot.address]);
    assert_eq!(target1.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));

    let target2 = target(&[closed.address, down], &[]);
    let Applied::Refused(Refusal::NoServer(failures)) = target2.apply(&mark(1, 2, "paris"), WAIT).await
    else {
        panic!()
    };
    assert_eq!(failures.len(), 2);
    assert!(failures[0].why.contains("NOTAUTH") || failures[0].why.contains("REFUSED"), "{}", failures[0]);
    assert!(failures[1].why.contains("refused"), "{}", failures[1]);
}

/// Bound, but nobody reads: like a machine that was frozen.
async fn frozen() -> (SocketAddr, UdpSocket, TcpListener) {
    let port = free_port(Ipv4Addr::LOCALHOST);
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    (udp.local_addr().unwrap(), udp, tcp)
}

#[tokio::test]
async fn a_silent_server_holds_up_no_change_that_another_one_takes() {
    let knot = Knot::primary("");
    let (silent, _udp, _tcp) = frozen().await;
    let start = Instant::now();
    let target1 = target(&[silent, knot.address], &[knot.address]);
    assert_eq!(target1.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());

    let start = Instant::now();
    let outcome = target(&[silent], &[]).apply(&mark(1, 2, "lyon"), Duration::from_secs(1)).await;
    assert!(matches!(&outcome, Applied::Refused(Refusal::NoServer(f)) if f[0].why.contains("no answer")));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_slow_server_is_waited_for_when_the_quick_ones_do_not_take_the_change() {
    let knot = Knot::primary("");
    let relay = Relay::slow(knot.address, Duration::from_millis(700)).await;
    let closed = Knot::start((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into(), &Role::Closed, "");
    let target = target(&[relay.address, closed.address], &[]);
    let ours = mark(1, 1, "lyon");
    let (outcome, ()) = tokio::join!(target.apply(&ours, WAIT), relay.serve(|_| async { Pass::Forward }));
    assert_eq!(outcome, Applied::Done { server: relay.address, changed: true });
}

#[tokio::test]
async fn a_dead_update_server_holds_up_no_look_and_is_told_as_advice() {
    let knot = Knot::primary("");
    let (silent, _udp, _tcp) = frozen().await;
    let traffic = traffic(&[silent, knot.address], &[knot.address]);
    for _ in 0..2 {
        let start = Instant::now();
        let view = traffic.look("traffic/public", WAIT).await;
        assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
        assert!(view.at.value().is_some(), "{view:?}");
        let gates = view.blockers.value().expect("known");
        let [advice] = gates.as_slice() else { panic!("{gates:?}") };
        assert!(advice.passed() && advice.name == "traffic/public/DnsServerUnreachable", "{advice:?}");
        assert!(
            advice.found.starts_with("advice: ") && advice.found.contains(&silent.to_string()),
            "{advice:?}"
        );
    }
    // Nobody names the verify servers: the zone's own are asked for, at all update servers at once.
    let start = Instant::now();
    let target = target(&[silent, knot.address], &[]).with_ns_port(knot.address.port());
    assert!(target.observe(WAIT).await.value().is_some());
    assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
}

#[tokio::test]
async fn while_no_update_server_answers_only_the_first_look_waits_for_them() {
    let knot = Knot::primary("");
    let (silent, _udp, _tcp) = frozen().await;
    let traffic = traffic(&[silent], &[knot.address]);
    let patience = Duration::from_secs(2);
    let blocked = |gates: &[Gate]| gates.iter().any(|g| g.answer == Answer::Unknown);
    traffic.look("traffic/public", patience).await;
    for _ in 0..3 {
        let start = Instant::now();
        let view = traffic.look("traffic/public", patience).await;
        assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
        assert!(view.at.value().is_some() && view.blockers.value().is_some_and(|g| blocked(g)), "{view:?}");
    }
}

#[tokio::test]
async fn verify_names_the_secondary_that_lags() {
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let second = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let primary = Knot::start(first, &Role::Primary { notify: &[] }, "");
    let secondary = Knot::start(second, &Role::Secondary { of: first, forwards: false }, "");
    let target = target(&[first], &[first, second]);
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&primary));
    let Verification::NotYet(differing) = target.verify(&mark(1, 1, "lyon"), WAIT).await else { panic!() };
    assert_eq!(differing.len(), 1);
    assert_eq!(differing[0].0.addresses, vec![second]);
    assert!(matches!(&differing[0].1, Difference::Addresses { found, .. } if found.is_empty()));
    secondary.control(&["-b", "zone-refresh", "shop.example."]);
    assert!(
        matches!(target.verify(&mark(1, 1, "lyon"), WAIT).await, Verification::Everywhere(s) if s.len() == 2)
    );
}

#[tokio::test]
async fn a_notified_secondary_follows_and_a_dead_one_is_named() {
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let second = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let primary = Knot::start(first, &Role::Primary { notify: &[second] }, "");
    let mut secondary = Knot::start(second, &Role::Secondary { of: first, forwards: false }, "");
    let target = target(&[first], &[first, second]);
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&primary));
    let start = Instant::now();
    while !matches!(target.verify(&mark(1, 1, "lyon"), WAIT).await, Verification::Everywhere(_)) {
        assert!(start.elapsed() < Duration::from_secs(20), "the secondary does not follow");
    }
    secondary.kill();
    let Verification::NotYet(differing) = target.verify(&mark(1, 1, "lyon"), WAIT).await else { panic!() };
    assert_eq!(differing[0].0.addresses, vec![second]);
    assert!(matches!(&differing[0].1, Difference::Unknown(why) if why.contains("refused")), "{differing:?}");
}

#[tokio::test]
async fn a_secondary_first_in_the_list_forwards_or_is_passed_over() {
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let primary = Knot::start(first, &Role::Primary { notify: &[] }, "");
    for (serial, forwards) in [(1, false), (2, true)] {
        let second = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
        let _secondary = Knot::start(second, &Role::Secondary { of: first, forwards }, "");
        let target = target(&[second, first], &[first]);
        let outcome = target.apply(&mark(1, serial, "lyon"), WAIT).await;
        let server = if forwards { second } else { first };
        assert_eq!(outcome, Applied::Done { server, changed: true });
        assert!(matches!(target.verify(&mark(1, serial, "lyon"), WAIT).await, Verification::Everywhere(_)));
    }
    drop(primary);
}

#[tokio::test]
async fn the_zones_own_name_servers_are_asked_when_none_are_named() {
    let records = "@ NS ns2\nns2 A 127.0.0.2\nwww 300 A 203.0.113.1\n";
    let port = free_port(Ipv4Addr::LOCALHOST);
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let second = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let _primary = Knot::start(first, &Role::Primary { notify: &[] }, records);
    let target = target(&[first], &[]).with_ns_port(port);
    let findings = target.preflight(WAIT).await;
    assert!(findings.iter().any(|f| f.code == "DnsTtlLonger" && f.found == "TTL 300 s"), "{findings:?}");
    assert!(findings.iter().any(|f| f.code == "DnsVerifyServer" && f.field.contains("ns2.shop.example.")));
    assert!(findings.iter().any(|f| f.code == "DnsNameServers" && f.found.contains("ns1.shop.example.")));
    assert!(findings.iter().all(|f| f.severity != Severity::Block), "{findings:?}");

    let _secondary = Knot::start(second, &Role::Secondary { of: first, forwards: false }, "");
    let Fact::Known { value: answers, .. } = target.observe(WAIT).await else { panic!() };
    let mut names: Vec<_> = answers.iter().filter_map(|a| a.server.name.clone()).collect();
    names.sort();
    assert_eq!(names, ["ns1.shop.example.", "ns2.shop.example."]);
    assert!(answers.iter().all(|a| a.result.value().is_some()), "{answers:?}");
}

#[tokio::test]
async fn preflight_changes_nothing_and_finds_nothing_wrong_with_a_good_server() {
    let knot = Knot::primary("");
    let target = target(&[knot.address], &[knot.address]);
    let findings = target.preflight(WAIT).await;
    assert!(findings.iter().all(|f| f.severity == Severity::Info), "{findings:?}");
    assert_eq!(only(&target).await.soa_serial, 1);
}

#[tokio::test]
async fn preflight_names_a_key_that_may_not_change_every_record() {
    let knot = Knot::start((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into(), &Role::OnlyA, "");
    let findings = target(&[knot.address], &[knot.address]).preflight(WAIT).await;
    let finding = findings.iter().find(|f| f.code == "DnsUpdateRefused").expect("a finding");
    assert_eq!(finding.severity, Severity::Block);
    assert!(finding.found.contains("_bascule.www.shop.example."), "{finding}");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_a_datagram_is_read_by_tcp() {
    let many: String = (1..=120).map(|i| format!("www 60 A 203.0.113.{i}")).collect::<Vec<_>>().join("\n");
    let knot = Knot::primary(&many);
    let target = target(&[knot.address], &[knot.address]);
    assert_eq!(only(&target).await.addresses.len(), 120);
    assert_eq!(target.apply(&mark(1, 1, "lyon"), WAIT).await, done(&knot));
    assert_eq!(only(&target).await.addresses.len(), 2);
}

#[tokio::test]
async fn nothing_is_known_without_servers() {
    let down: SocketAddr = (Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into();
    let target = target(&[down], &[]);
    let Fact::Unknown { reason: why } = target.observe(Duration::from_secs(1)).await else { panic!() };
    assert!(why.contains("name servers of zone shop.example."), "{why}");
    assert!(matches!(
        target.verify(&mark(1, 1, "lyon"), Duration::from_secs(1)).await,
        Verification::Unknown(_)
    ));
    assert!(target.preflight(Duration::from_secs(1)).await.iter().any(|f| f.code == "DnsServerUnreachable"));
}

#[tokio::test]
async fn the_view_names_the_site_when_every_server_that_answers_agrees_and_says_who_is_silent() {
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let second = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let _primary = Knot::start(first, &Role::Primary { notify: &[] }, "www A 192.0.2.10\n");
    let mut secondary = Knot::start(second, &Role::Secondary { of: first, forwards: false }, "");
    let traffic = traffic(&[first], &[first, second]);
    let at = async || traffic.look("traffic/public", WAIT).await.at.value().expect("known").clone();
    let by_hand = at().await;
    assert_eq!((by_hand.site, by_hand.serial, by_hand.differing.len()), (None, 0, 2), "no mark yet");
    let view = traffic.look("traffic/public", WAIT).await;
    assert!(view.blockers.value().expect("known").iter().all(Gate::passed), "{view:?}");

    assert!(traffic.point(&site("lyon"), 1, 7, WAIT).await.is_done());
    let lagging = at().await;
    assert_eq!((&lagging.site, lagging.epoch, lagging.serial), (&None, 1, 7));
    assert!(
        matches!(lagging.differing.as_slice(), [one] if one.contains(&second.to_string())),
        "{lagging:?}"
    );
    secondary.control(&["-b", "zone-refresh", "shop.example."]);
    let same = at().await;
    assert_eq!((same.site, same.epoch, same.serial), (Some(site("lyon")), 1, 7));
    assert!(same.differing.is_empty());
    let stale = traffic.point(&site("paris"), 1, 6, WAIT).await;
    assert!(matches!(&stale, Outcome::Refused { reason } if reason.contains("newer")), "{stale:?}");
    secondary.kill();
    let alone = at().await;
    assert_eq!(alone.site, Some(site("lyon")), "nothing waits for a dead site's own server");
    assert!(matches!(alone.silent.as_slice(), [one] if one.contains(&second.to_string())), "{alone:?}");
}

fn traffic(update: &[SocketAddr], verify: &[SocketAddr]) -> DnsTraffic {
    let ip = |s: &str| vec![s.parse().unwrap()];
    let dns = Dns {
        name: "www.shop.example.".to_owned(),
        zone: "shop.example.".to_owned(),
        ttl: Duration::from_secs(5),
        update_servers: update.to_vec(),
        verify_servers: verify.to_vec(),
        tsig_secret: "key".try_into().unwrap(),
        addresses: [(site("paris"), ip("192.0.2.10")), (site("lyon"), ip("198.51.100.10"))].into(),
    };
    DnsTraffic::new(&dns, key(SECRET)).unwrap()
}
