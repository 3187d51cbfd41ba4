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
fn main() {
    let n: u32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(200);
    let t = std::time::Instant::now();
    let mut events = 0;
    for i in 0..n {
        let base = Base::new(Flow::Switchover, u64::from(i) * 0 + 1, &sample::policy(), false).unwrap();
        events += base.play(&[]).1.events;
    }
    println!("{n} x (steady + 2 plays): {:?} each, {} events", t.elapsed() / n, events / u64::from(n));
    let base = Base::new(Flow::Switchover, 1, &sample::policy(), false).unwrap();
    let t = std::time::Instant::now();
    for _ in 0..n {
        let _ = base.play(&[]);
    }
    println!("play {:?}", t.elapsed() / n);
}
