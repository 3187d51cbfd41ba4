//! What an adapter finds in the way, by the names that a rule looks for: both sides have them from here.

use std::fmt;

use crate::name::ItemName;
use crate::plan::Gate;

/// The server's host or port cannot be reached.
pub const CONNECT_UNREACHABLE: &str = "ConnectUnreachable";
/// The server did not answer in time.
pub const CONNECT_TIMEOUT: &str = "ConnectTimeout";
/// The server takes no sessions yet, or no more.
pub const CONNECT_NOT_READY: &str = "ConnectNotReady";

/// What says that no server answers at all.
pub const NO_ANSWER: [&str; 3] = [CONNECT_UNREACHABLE, CONNECT_TIMEOUT, CONNECT_NOT_READY];

const CONTENDED: &str = "contended/";

/// The name under which everything about a database is found, alone or as the beginning of a longer one.
pub fn database(name: &ItemName) -> String {
    format!("database/{name}")
}

/// The gate of a field of a workload that belongs to somebody else.
pub fn contended(workload: &ItemName, field: impl fmt::Display) -> String {
    format!("{CONTENDED}{workload}/{field}")
}

/// Whether the gate says that a field belongs to somebody else.
pub fn is_contended(gate: &Gate) -> bool {
    gate.name.starts_with(CONTENDED)
}

/// Whether the gate is about this database.
pub fn is_about(gate: &Gate, name: &ItemName) -> bool {
    gate.name.strip_prefix(&database(name)).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the gate says that a server did not answer at all.
pub fn is_no_answer(gate: &Gate) -> bool {
    let code = gate.name.rsplit_once('/').map(|(_, code)| code);
    code.is_some_and(|code| NO_ANSWER.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Answer;

    #[test]
    fn a_gate_is_known_by_its_whole_name() {
        let gate = |name: &str| Gate::new(name, Answer::No, "found", "needed");
        let main: ItemName = "main".to_owned().try_into().unwrap();
        let contended = gate(&contended(&main, "replicas"));
        assert_eq!(contended.name, "contended/main/replicas");
        assert!(is_contended(&contended) && !is_contended(&gate("workload/contended/replicas")));
        assert!(is_about(&gate("database/main/disk"), &main));
        assert!(!is_about(&gate("database/main"), &main) && !is_about(&gate("database/main2/disk"), &main));
        assert!(is_no_answer(&gate("database/main/ConnectTimeout")));
        assert!(!is_no_answer(&gate("ConnectTimeout")) && !is_no_answer(&gate("database/main/ConnectTls")));
    }
}
