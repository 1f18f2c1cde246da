//! What an operator sees on the console: one line for each thing that is not as it should be.

use std::io::Write;

/// Prints a line. A console that is gone is no reason to end.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "margay-agent: {text}");
}
