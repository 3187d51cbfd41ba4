#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods
)]
#[path = "../tests/sample/mod.rs"]
mod sample;
use bascule_sim::flow::Flow;
use bascule_sim::search::*;
use std::collections::BTreeMap;
fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let began = std::time::Instant::now();
    let mut all = Found::default();
    for flow in Flow::ALL {
        if !only.is_empty() && !only.iter().any(|o| o == flow.name()) {
            continue;
        }
        let t = std::time::Instant::now();
        let base = Base::new(flow, 1, &sample::policy(), false)
            .unwrap_or_else(|e| panic!("{}: {}", flow.name(), e.0));
        let found: Found = std::thread::scope(|s| {
            let hs: Vec<_> = (0..2)
                .map(|p| {
                    let base = &base;
                    s.spawn(move || singles(base, p, 2))
                })
                .collect();
            let mut f = Found::default();
            for h in hs {
                f.join(h.join().unwrap());
            }
            f
        });
        println!(
            "{:<20} {:>3} boundaries {:>6} cases {:>5} failures {:?}",
            flow.name(),
            base.boundaries.len(),
            found.cases,
            found.failures.len(),
            t.elapsed()
        );
        all.join(found);
    }
    let mut kinds: BTreeMap<(String, String), (u32, String)> = BTreeMap::new();
    for f in &all.failures {
        let fault = f.case.faults.iter().map(|i| format!("{:?}", i.fault)).collect::<Vec<_>>().join("+");
        let what: String = f.violation.what.chars().take(150).collect();
        let e = kinds
            .entry((format!("{:?}", f.violation.invariant), fault))
            .or_insert((0, format!("{} {:?}: {}", f.case.flow.name(), f.case.faults[0].when, what)));
        e.0 += 1;
    }
    for ((inv, fault), (n, example)) in kinds {
        println!("{inv:<4} {n:>5} {fault:<28} {example}");
    }
    println!("met {:?}", all.met);
    let cpu = began.elapsed().as_secs_f64();
    all.events.sort();
    all.writes.sort();
    println!(
        "{} cases in {:.1} s wall; median events {} writes {}",
        all.cases,
        cpu,
        all.events[all.events.len() / 2],
        all.writes[all.writes.len() / 2]
    );
}
