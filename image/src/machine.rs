//! For which machine a program was built, and what images call it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// A kind of machine that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

/// `e_machine` of an ELF file.
const X86_64: u16 = 62;
/// The same of 64-bit Arm.
const AARCH64: u16 = 183;

impl Machine {
    /// The one that this program runs on.
    pub fn this() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("no images are made on a machine of kind {other}; expected x86_64 or aarch64"),
        }
    }

    /// The one that a Linux program was built for.
    pub fn of(program: &Path) -> Result<Self> {
        let shown = program.display();
        let mut header = [0; 20];
        File::open(program)
            .with_context(|| format!("cannot read {shown}"))?
            .read_exact(&mut header)
            .with_context(|| format!("{shown} is no program: it is too short"))?;
        ensure!(header.starts_with(b"\x7fELF"), "{shown} is no Linux program: it does not begin with ELF");
        // Byte 5 says in which order the others are; 1 is the little end first.
        let bytes = [header[18], header[19]];
        let number = if header[5] == 1 { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
        match number {
            X86_64 => Ok(Self::Amd64),
            AARCH64 => Ok(Self::Arm64),
            other => bail!(
                "{shown} was built for machine {other} of ELF; expected {X86_64} (x86_64) or {AARCH64} (aarch64)"
            ),
        }
    }

    /// The name in an image's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
mod tests {
    use std::io::Write;

    use super::*;

    fn program(machine: u16) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut header = [0; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[5] = 1;
        header[18..20].copy_from_slice(&machine.to_le_bytes());
        file.write_all(&header).unwrap();
        file
    }

    #[test]
    fn a_program_says_for_which_machine_it_was_built() {
        assert_eq!(Machine::of(program(62).path()).unwrap(), Machine::Amd64);
        assert_eq!(Machine::of(program(183).path()).unwrap(), Machine::Arm64);
        let own = std::env::current_exe().unwrap();
        assert_eq!(Machine::of(&own).unwrap(), Machine::this().unwrap());
    }

    #[test]
    fn what_no_image_can_be_made_of_is_refused_with_what_was_found() {
        let why = Machine::of(program(243).path()).unwrap_err().to_string();
        assert!(why.contains("machine 243") && why.contains("aarch64"), "{why}");
        let mut script = tempfile::NamedTempFile::new().unwrap();
        script.write_all(b"#!/bin/sh\nexec something else\n").unwrap();
        assert!(Machine::of(script.path()).unwrap_err().to_string().contains("no Linux program"));
    }
}
