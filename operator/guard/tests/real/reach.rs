//! Who can reach a guard: it connects to its operator, its server and the arbiter, and listens nowhere itself.

use std::collections::BTreeSet;

use crate::roles::serves;
use crate::world::World;

/// The inodes of the sockets that are listened on, in one of the kernel's tables: the word that says so, and the inode's.
fn listened(table: &str, (state, says): (usize, &str), inode: usize) -> BTreeSet<String> {
    let text = std::fs::read_to_string(table).unwrap();
    let words = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = words.filter(|words| words.get(state) == Some(&says));
    listening.map(|words| words[inode].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_listens_on_no_port_and_no_socket() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    let pid = a.pid();
    let mut all = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        all.extend(listened(&format!("/proc/{pid}/net/{table}"), (3, "0A"), 9));
    }
    all.extend(listened(&format!("/proc/{pid}/net/unix"), (3, "00010000"), 6));
    assert!(!all.is_empty(), "its server listens, in the same network");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let own: Vec<String> = files
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    assert!(!own.is_empty(), "it is connected");
    let listens: Vec<&String> = own.iter().filter(|inode| all.contains(*inode)).collect();
    assert!(listens.is_empty(), "sockets {listens:?} of {own:?}");
}
