//! `meetlake completions SHELL`: prints a completion script.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::exit;

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Shell to write the script for
    shell: Shell,
}

/// Writes the script for `command`, the whole command line of the program.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: Args, mut command: clap::Command, out: &mut dyn Write) -> io::Result<exit::Code> {
    let name = command.get_name().to_owned();
    // Into memory first, because the generator panics if a pipe is closed early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out.write_all(&script)?;
    Ok(exit::Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_names_the_program() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let command = clap::Command::new("meetlake").subcommand(clap::Command::new("validate"));
            let mut out = Vec::new();
            run(Args { shell }, command, &mut out).expect("a Vec takes everything");
            let script = String::from_utf8(out).expect("scripts are UTF-8");
            assert!(script.contains("meetlake") && script.contains("validate"));
        }
    }
}
