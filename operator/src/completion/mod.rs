//! `bascule completion`: what a shell has to know to complete this command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
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
    clap_complete::generate(args.shell, &mut Cli::command(), "bascule", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
