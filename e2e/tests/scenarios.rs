//! Scenarios on real clusters, databases, DNS and git; each asserts from the client's own record. Needs root.
//!
//! `cargo test -p bascule-e2e --test scenarios` plays all of them in one world; words choose by name.

mod scenarios {
    pub(crate) mod answers;
    pub(crate) mod arbiter;
    pub(crate) mod clocks;
    pub(crate) mod databases;
    pub(crate) mod intent;
    pub(crate) mod links;
    pub(crate) mod people;
    pub(crate) mod places;
    pub(crate) mod replicas;
    pub(crate) mod three_sites;
}

use std::process::ExitCode;

use bascule_e2e::scenario;

fn main() -> ExitCode {
    let lists = [
        scenarios::arbiter::all(),
        scenarios::links::all(),
        scenarios::places::all(),
        scenarios::databases::all(),
        scenarios::intent::all(),
        scenarios::people::all(),
        scenarios::answers::all(),
        scenarios::three_sites::all(),
        // Last: they need worlds of their own.
        scenarios::replicas::all(),
        scenarios::clocks::all(),
    ];
    scenario::main(&lists.into_iter().flatten().collect::<Vec<_>>())
}
