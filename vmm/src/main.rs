//! The `margay` command: parses the command line, hands it to the library, prints errors, exits.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use margay_vmm::cli::{Cli, CliError};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.execute(&mut io::stdout().lock()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error);
            error.exit().into()
        }
    }
}

/// Says what went wrong and what to do. Standard error may be closed too; then there is nobody to tell.
fn report(error: &CliError) {
    let mut stderr = io::stderr().lock();
    if error.is_silent() {
        return;
    }
    let _ = writeln!(stderr, "{}", error.message());
}
