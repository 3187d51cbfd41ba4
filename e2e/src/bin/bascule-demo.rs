//! `make demo`: brings two real clusters up, tells the story of a failover, and proves it.

use std::process::ExitCode;

use bascule_e2e::kept::keep_logs;
use bascule_e2e::progress::seconds;
use bascule_e2e::story::{self, Claims, Teller};
use bascule_e2e::world::{Options, World};

#[tokio::main]
async fn main() -> ExitCode {
    let teller = Teller::new();
    let told = World::with(Options::default(), |world| async move {
        let claims = story::tell(&world, &teller).await;
        if !claims.as_ref().is_ok_and(Claims::all_hold) {
            match keep_logs(&world, "demo") {
                Ok(folder) => println!("\nlogs are kept in {}", folder.display()),
                Err(e) => println!("\nlogs could not be kept: {e:#}"),
            }
        }
        world.down()?;
        claims
    })
    .await;
    match told {
        Ok(claims) => {
            println!("\n{claims}");
            let words = if claims.all_hold() { "every claim holds" } else { "not every claim holds" };
            println!("{words}; {} in all; nothing is left running", seconds(teller.elapsed()));
            if claims.all_hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            println!("\nthe demo failed after {}: {e:#}", seconds(teller.elapsed()));
            ExitCode::FAILURE
        }
    }
}
