//! Copies this program into a volume: what an init container of the operator's image does for the database's own
//! container, which has another image. The image has no shell and no `cp`.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;

use crate::effect;

/// This program, as the kernel sees it: the file itself, whatever became of its name.
const OWN: &str = "/proc/self/exe";

/// The program could not be copied.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} cannot be written: name a folder of a volume that this container may write to, with room for the program"
)]
pub struct InstallError {
    path: PathBuf,
    source: io::Error,
}

/// Copies this program to `folder/bascule`, whole or not at all, and answers where it is. One that is there already is
/// replaced, even while it runs.
pub fn install(folder: &Path) -> Result<PathBuf, InstallError> {
    let target = folder.join("bascule");
    // Under another name first: a container that was killed here must leave nothing that looks complete.
    let partial = folder.join(".bascule.partial");
    let copied = (|| {
        effect::copy(Effect::Install, Path::new(OWN), &partial)?;
        effect::permit(Effect::Install, &partial, Permissions::from_mode(0o755))?;
        File::open(&partial)?.sync_all()?;
        effect::rename(Effect::Install, &partial, &target)
    })();
    copied.map_err(|source| InstallError { path: target.clone(), source })?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_program_is_copied_whole_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bascule");
        fs::write(&target, "an older one").unwrap();
        assert_eq!(install(folder.path()).unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), fs::read(std::env::current_exe().unwrap()).unwrap());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something else was left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let why = install(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(why.contains("/nonexistent/bascule") && why.contains("volume"), "{why}");
    }
}
