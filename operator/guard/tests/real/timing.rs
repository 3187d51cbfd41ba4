//! How long the guard's steps take, printed. `BASCULE_ROUNDS` sets how often; the figures are no assertions.

use std::time::Instant;

use bascule_core::guard::wire::Role;

use crate::roles::{follows, pair, serves};
use crate::world::{Node, World};

fn rounds() -> usize {
    std::env::var("BASCULE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// The durations that the guard's own log gives for lines with `what`, in milliseconds.
fn logged(nodes: &[&Node], what: &str) -> Vec<f64> {
    let took = |line: &str| {
        let text = line.split("took=").nth(1)?.split_whitespace().next()?;
        let text = text.strip_prefix("Some(").and_then(|t| t.strip_suffix(')')).unwrap_or(text);
        let number = text.trim_end_matches(|c: char| c.is_alphabetic() || c == 'µ');
        let unit = &text[number.len()..];
        let scale = match unit {
            "s" => 1e3,
            "ms" => 1.0,
            "µs" => 1e-3,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * scale)
    };
    let lines: Vec<String> = nodes.iter().map(|n| n.log()).collect();
    lines.iter().flat_map(|l| l.lines()).filter(|l| l.contains(what)).filter_map(took).collect()
}

fn print(name: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
    eprintln!(
        "{name:32} n {:3}  ms min {:6.1}  p50 {:6.1}  p90 {:6.1}  max {:6.1}",
        values.len(),
        at(0.0),
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_change_hands_again_and_again_and_the_times_are_printed() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    let nodes = [&a, &b];
    let (mut stop, mut proof, mut open, mut write) = (vec![], vec![], vec![], vec![]);
    let mut serial = 10;
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    for round in 0..rounds() {
        let (old, new) = (nodes[round % 2], nodes[(round + 1) % 2]);
        old.sql("INSERT INTO t(n) SELECT 0 FROM generate_series(1, 100)").await;
        old.order(|o| (o.checkpoint, o.serial) = (true, serial + 1));
        old.until("a checkpoint", |r| r.checkpointed == Some(serial + 1)).await;
        old.order(|o| o.checkpoint = false);
        let began = Instant::now();
        old.lock(serial + 2);
        let stopped = old.until("locked", |r| r.locked == Some(serial + 2)).await.stopped.unwrap();
        stop.push(ms(began));
        assert!(stopped.clean);
        let began = Instant::now();
        new.until("proof", |r| r.positions.as_ref().is_some_and(|p| p.replay > Some(stopped.checkpoint)))
            .await;
        proof.push(ms(began));
        let began = Instant::now();
        new.serve(serial + 3, serial);
        new.until("open", serves).await;
        open.push(ms(began));
        let began = Instant::now();
        new.sql("INSERT INTO t(n) VALUES (1)").await;
        write.push(ms(began));
        old.follow(serial + 4, new);
        old.until("following", follows).await;
        serial += 10;
    }
    print("lock to confirmed, as told", stop);
    print("position to proof, as told", proof);
    print("serve to open, as told", open);
    print("connect and first write", write);
    print("guard: fast stop", logged(&nodes, "the primary has stopped"));
    print("guard: promote", logged(&nodes, "state=Primary { open: false }"));
    print("guard: open", logged(&nodes, "state=Primary { open: true }"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_the_deadline_are_timed() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("open", serves).await;
    for _ in 0..rounds() {
        a.order(|o| {
            o.deaf = true;
            o.role = Role::Serve { open: true, slots: vec![] };
        });
        let began = Instant::now();
        while !a.processes().is_empty() {
            assert!(began.elapsed() < crate::world::PATIENCE);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        a.order(|o| o.deaf = false);
        a.until("open again", serves).await;
    }
    print("guard: kill at the deadline", logged(&[&a], "late=Some"));
}
