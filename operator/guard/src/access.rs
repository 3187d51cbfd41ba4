//! Who may connect: the guard's own `hba_file`, closed or open.
//!
//! Closed is the guard's local superuser and replication. Open is the same lines, then the user's `pg_hba.conf`. The
//! own lines never change, so a reload into "closed" cannot fail on a mistake in the user's file.

use std::io;
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;

use crate::store::{write_atomically, write_for_now};

/// The map in `ident_file` that lets the guard's operating system user be the superuser.
const MAP: &str = "bascule";

/// What the two files are made from.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Where `hba` and `ident` are written.
    pub(crate) dir: PathBuf,
    /// The database superuser that the guard uses.
    pub(crate) superuser: String,
    /// The operating system user that the guard and the server run as.
    pub(crate) system_user: String,
    /// The `pg_hba.conf` lines for replication that hold in both states.
    pub(crate) replication: Vec<String>,
}

impl Access {
    /// The `hba_file` to start the server with.
    pub(crate) fn hba(&self) -> PathBuf {
        self.dir.join("pg_hba.conf")
    }

    /// The `ident_file` to start the server with.
    pub(crate) fn ident(&self) -> PathBuf {
        self.dir.join("pg_ident.conf")
    }

    fn own_lines(&self) -> String {
        let mut text = String::from("# Written by the Bascule guard; changes are overwritten.\n");
        for part in ["local all ", &quote(&self.superuser), " peer map=", MAP, "\n"] {
            text.push_str(part);
        }
        for line in &self.replication {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Lets nobody in but the guard and replication, from the next reload on.
    pub(crate) fn close(&self) -> io::Result<()> {
        write_atomically(Effect::WriteClosedRules, &self.hba(), self.own_lines().as_bytes())
    }

    /// The text that lets in whom the user's file lets in.
    pub(crate) fn opened(&self, users: &Path) -> io::Result<String> {
        let theirs = std::fs::read_to_string(users)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", users.display())))?;
        Ok(format!("{}# From {}:\n{theirs}", self.own_lines(), users.display()))
    }

    /// Puts the text of [`Access::opened`] in force, from the next reload on. Not synced: every start begins with
    /// [`Access::close`], so nobody reads it after a power cut, and clients wait for this.
    pub(crate) fn open(&self, text: &str) -> io::Result<()> {
        write_for_now(Effect::WriteOpenRules, &self.hba(), text.as_bytes())
    }

    /// Writes the `ident_file`: the guard's map, then the user's.
    pub(crate) fn write_ident(&self, users: Option<&Path>) -> io::Result<()> {
        let theirs = match users.map(std::fs::read_to_string) {
            Some(Ok(text)) => text,
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => String::new(),
        };
        let own = format!("{MAP} {} {}\n", quote(&self.system_user), quote(&self.superuser));
        write_atomically(Effect::WriteIdent, &self.ident(), format!("{own}{theirs}").as_bytes())
    }
}

/// A name as one word of `pg_hba.conf`, never a keyword.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(dir: &Path) -> Access {
        Access {
            dir: dir.to_owned(),
            superuser: "all".into(),
            system_user: "postgres".into(),
            replication: vec!["host replication all all scram-sha-256".into()],
        }
    }

    #[test]
    fn closed_is_the_guard_and_replication_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let a = access(dir.path());
        a.close().unwrap();
        let text = std::fs::read_to_string(a.hba()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(lines, ["local all \"all\" peer map=bascule", "host replication all all scram-sha-256"]);
    }

    #[test]
    fn open_begins_with_the_closed_lines_and_ends_with_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let a = access(dir.path());
        let users = dir.path().join("users");
        std::fs::write(&users, "host all all all scram-sha-256\n").unwrap();
        a.close().unwrap();
        let closed = std::fs::read_to_string(a.hba()).unwrap();
        let open = a.opened(&users).unwrap();
        assert!(open.starts_with(&closed));
        assert!(open.ends_with("host all all all scram-sha-256\n"));
        let e = a.opened(&dir.path().join("missing")).unwrap_err().to_string();
        assert!(e.contains("missing"), "{e}");
    }
}
