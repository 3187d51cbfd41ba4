//! What lies in a data directory, read without running anything: `PG_VERSION` and the control file.

use std::path::Path;

use bascule_core::guard::wire::{Cluster, ClusterState, Disk};
use bascule_core::position::{Lsn, SystemId, Timeline};

/// The major versions that were tested, with their control file's version.
const TESTED: [(&str, u32); 1] = [("15", 1300)];

/// Where the fields of PostgreSQL 15's `ControlFileData` lie on a 64-bit machine.
mod at {
    pub(super) const SYSTEM_ID: usize = 0;
    pub(super) const VERSION: usize = 8;
    pub(super) const STATE: usize = 16;
    pub(super) const CHECKPOINT: usize = 32;
    pub(super) const TIMELINE: usize = 48;
    pub(super) const MIN_RECOVERY_TIMELINE: usize = 144;
    pub(super) const CRC: usize = 288;
}

/// Reads what lies in `data`. `half_rewound` says whether the guard's mark of an unfinished rewind is there.
pub(crate) fn read(data: &Path, half_rewound: bool) -> Disk {
    let unreadable = |reason: String| Disk::Unreadable { reason };
    match std::fs::read_dir(data) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Disk::Empty,
        Err(e) => return unreadable(format!("{}: {e}", data.display())),
        Ok(mut entries) => {
            let foreign = |name: &std::ffi::OsStr| name != "lost+found";
            if !entries.any(|entry| entry.map_or(true, |e| foreign(&e.file_name()))) {
                return Disk::Empty;
            }
        }
    }
    let version = match std::fs::read_to_string(data.join("PG_VERSION")) {
        Ok(text) => text.trim().to_owned(),
        Err(e) => {
            return unreadable(format!(
                "{}: not empty and no cluster: {e}",
                data.join("PG_VERSION").display()
            ));
        }
    };
    let Some((_, control_version)) = TESTED.iter().find(|(tested, _)| *tested == version) else {
        let tested: Vec<&str> = TESTED.iter().map(|(v, _)| *v).collect();
        return unreadable(format!(
            "{} says {version:?}: the guard was tested with PostgreSQL {} only",
            data.join("PG_VERSION").display(),
            tested.join(", ")
        ));
    };
    let path = data.join("global/pg_control");
    // The server rewrites the file in place: a torn read has a wrong checksum, and another read heals it.
    let mut last = String::new();
    for _ in 0..5 {
        match std::fs::read(&path)
            .map_err(|e| e.to_string())
            .and_then(|bytes| parse(&bytes, *control_version))
        {
            Ok((system_id, timeline, state, checkpoint)) => {
                return Disk::Cluster(Cluster {
                    system_id,
                    timeline,
                    state,
                    checkpoint,
                    standby_signal: data.join("standby.signal").exists(),
                    half_rewound,
                });
            }
            Err(e) => last = e,
        }
    }
    unreadable(format!("{}: {last}", path.display()))
}

fn parse(bytes: &[u8], version: u32) -> Result<(SystemId, Timeline, ClusterState, Lsn), String> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    let long = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
    let short = || format!("{} bytes are too few", bytes.len());
    let found = word(at::VERSION).ok_or_else(short)?;
    if found != version {
        return Err(format!("control file version {found}, expected {version}"));
    }
    let stored = word(at::CRC).ok_or_else(short)?;
    let computed = crc32c(bytes.get(..at::CRC).ok_or_else(short)?);
    if stored != computed {
        return Err(format!(
            "checksum {stored:08x} does not fit the content ({computed:08x}): it is damaged"
        ));
    }
    let state = match word(at::STATE).ok_or_else(short)? {
        0 => ClusterState::StartingUp,
        1 => ClusterState::ShutDown,
        2 => ClusterState::ShutDownInRecovery,
        3 => ClusterState::ShuttingDown,
        4 => ClusterState::InCrashRecovery,
        5 => ClusterState::InArchiveRecovery,
        6 => ClusterState::InProduction,
        other => return Err(format!("cluster state {other} is unknown")),
    };
    Ok((
        SystemId(long(at::SYSTEM_ID).ok_or_else(short)?),
        // After a promotion the checkpoint names the old timeline until the first checkpoint on the new one.
        Timeline(word(at::TIMELINE).max(word(at::MIN_RECOVERY_TIMELINE)).ok_or_else(short)?),
        state,
        Lsn(long(at::CHECKPOINT).ok_or_else(short)?),
    ))
}

/// CRC-32C (Castagnoli), as PostgreSQL computes it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn an_untested_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("PG_VERSION"), "16\n").unwrap();
        let Disk::Unreadable { reason } = read(dir.path(), false) else { panic!() };
        assert!(reason.contains("\"16\"") && reason.contains("15 only"), "{reason}");
    }

    #[test]
    fn a_missing_or_empty_directory_is_empty_and_a_strange_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("none"), false), Disk::Empty);
        assert_eq!(read(dir.path(), false), Disk::Empty);
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert_eq!(read(dir.path(), false), Disk::Empty);
        std::fs::write(dir.path().join("letter.txt"), "dear all").unwrap();
        assert!(matches!(read(dir.path(), false), Disk::Unreadable { .. }));
    }

    #[test]
    fn a_damaged_control_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        std::fs::create_dir(dir.path().join("global")).unwrap();
        let mut bytes = vec![0u8; 8192];
        bytes[at::VERSION..at::VERSION + 4].copy_from_slice(&1300u32.to_ne_bytes());
        std::fs::write(dir.path().join("global/pg_control"), bytes).unwrap();
        let Disk::Unreadable { reason } = read(dir.path(), false) else { panic!() };
        assert!(reason.contains("damaged"), "{reason}");
    }
}
