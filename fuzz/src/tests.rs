//! What was kept, again: on the stable toolchain, with every test run.

use std::path::Path;
use std::time::{Duration, Instant};

/// Far above what any input needs without optimisation on a busy machine; one that explodes needs more.
const EACH: Duration = Duration::from_secs(10);

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{}: only {} inputs are kept", dir.display(), files.len());
    let mut wrong = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let started = Instant::now();
        let ended = std::panic::catch_unwind(|| run(&bytes));
        let took = started.elapsed();
        if ended.is_err() {
            wrong.push(format!("{} panics: see above", file.display()));
        } else if took > EACH {
            wrong.push(format!("{} takes {took:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

macro_rules! kept {
    ($($target:ident: $name:ident;)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($target), crate::$target::run);
        })*
    };
}

kept! {
    intake: a_file_of_a_revision_is_read_or_refused_in_words;
    record: what_the_arbiter_holds_never_ends_the_operator;
    from_guard: what_a_guard_says_never_ends_the_operator;
    from_operator: what_an_operator_says_never_ends_the_guard;
    dns: an_answer_of_a_name_server_is_used_or_refused_in_words;
    postgres: an_answer_of_a_database_server_is_used_or_refused_in_words;
    scenario: a_scenario_is_read_or_refused_in_words;
}
