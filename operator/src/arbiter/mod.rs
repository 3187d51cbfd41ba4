//! `bascule arbiter`: the etcd of three or five members that the sites agree through: its certificates and files, its
//! users, and the care of it.
//!
//! | file | question |
//! |---|---|
//! | `given` | what does a person say? Members, sites, profile; checked |
//! | `description` | what is known of the arbiter that was made? Its file `arbiter.json` |
//! | `authority` | who signs, and for how long? |
//! | `certificates` | who gets which certificate? |
//! | `settings` | what does a member run with? |
//! | `cluster` | what does a member in a cluster get? Secret and values for the chart |
//! | `machine` | what does a member on a plain machine get? Configuration and unit |
//! | `site` | what does a site's operator get, and what do its guards? |
//! | `folder` | how do files come to the disk, all of them or none? |
//! | `init` | `init`: makes all of it |
//! | `reach` | which members are asked, with whose certificate? |
//! | `setup` | `setup`: users, roles, authentication |
//! | `replace` | `replace`: a member whose disk or machine is lost |
//! | `defragment` | `defragment`: gives space back, one member after the other |
//! | `backup` | `backup`: a copy of the store |

mod authority;
mod backup;
mod certificates;
mod cluster;
mod defragment;
mod description;
mod folder;
mod given;
mod init;
mod machine;
mod reach;
mod replace;
mod settings;
mod setup;
mod site;

use std::process::ExitCode;

use clap::Subcommand;

use self::backup::BackupArgs;
use self::defragment::DefragmentArgs;
use self::init::InitArgs;
use self::replace::ReplaceArgs;
use self::setup::SetupArgs;
use crate::asking;

/// What is done to the arbiter.
#[derive(Debug, Subcommand)]
pub enum ArbiterCommand {
    /// Make certificates, and one folder for each member and each site with all that it needs; asks nobody.
    #[command(after_long_help = init::MORE)]
    Init(Box<InitArgs>),
    /// Make users and roles in the running arbiter and turn authentication on; doing it again changes nothing.
    #[command(after_long_help = setup::MORE)]
    Setup(Box<SetupArgs>),
    /// Take a member out whose disk or machine is lost, and let a new one in at its place.
    #[command(after_long_help = replace::MORE)]
    Replace(Box<ReplaceArgs>),
    /// Give the space back that the members' stores do not use, one member after the other.
    #[command(after_long_help = defragment::MORE)]
    Defragment(Box<DefragmentArgs>),
    /// Copy everything that is stored into a file.
    #[command(after_long_help = backup::MORE)]
    Backup(Box<BackupArgs>),
}

/// Does it.
pub fn run(command: ArbiterCommand) -> anyhow::Result<ExitCode> {
    match command {
        ArbiterCommand::Init(args) => init::run(&args),
        ArbiterCommand::Setup(args) => asking(setup::run(*args)),
        ArbiterCommand::Replace(args) => asking(replace::run(*args)),
        ArbiterCommand::Defragment(args) => asking(defragment::run(*args)),
        ArbiterCommand::Backup(args) => asking(backup::run(*args)),
    }
}
