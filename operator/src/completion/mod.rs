//! `bascule completion`: what a shell has to know to complete this command line.

use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::telling::print;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
Examples:
  bascule completion bash > /etc/bash_completion.d/bascule
  bascule completion zsh > \"${fpath[1]}/_bascule\"
  bascule completion fish > ~/.config/fish/completions/bascule.fish";

/// What is asked.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let whole = Cli::command();
    // The generators offer hidden commands, too; one is for the operator alone.
    let offered = whole.get_subcommands().filter(|c| !c.is_hide_set()).cloned();
    let mut offered = Command::new("bascule").version(env!("CARGO_PKG_VERSION")).subcommands(offered);
    clap_complete::generate(args.shell, &mut offered, "bascule", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
