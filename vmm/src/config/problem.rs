//! What can be wrong in a node file by itself, without regard to the host.

use crate::config::Explain;
use crate::units::{ParseBytesError, ParseCoresError, ParseFractionError};

/// What is wrong with a key or value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// A key or table that does not exist.
    #[error("unknown key `{key}` in {table}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        table: &'static str,
        /// What could stand there.
        known: &'static [&'static str],
    },
    /// A value of the wrong TOML type.
    #[error("`{key}` is {found}, but must be {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// TOML's name of what it is.
        found: &'static str,
        /// What it must be.
        expected: &'static str,
        /// How to write it.
        example: &'static str,
    },
    /// A word that is not one of the possible ones.
    #[error("`{key}` cannot be \"{word}\"")]
    NotAWord {
        /// The key.
        key: &'static str,
        /// The word.
        word: String,
        /// The possible ones.
        allowed: &'static [&'static str],
    },
    /// `kind = "vm"`.
    #[error("a service OS in a VM (`kind = \"vm\"`) is not supported in this version")]
    ServiceVm,
    /// Not an amount of memory.
    #[error("`{key}` is no amount of memory: {why}")]
    NotMemory {
        /// The key.
        key: &'static str,
        /// Why not.
        why: ParseBytesError,
    },
    /// Not a fraction.
    #[error("`{key}` is no fraction of the memory: {why}")]
    NotAPart {
        /// The key.
        key: &'static str,
        /// Why not.
        why: ParseFractionError,
    },
    /// Not a set of cores.
    #[error("`cores` is no list of cores: {0}")]
    NotCores(ParseCoresError),
    /// A list without a core.
    #[error("`cores` is empty: every partition has at least one core")]
    NoCores,
    /// A number out of its range.
    #[error("`{key}` is {value}, but must be between {min} and {max}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value, as written.
        value: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A node without an LWK.
    #[error("the node has no lightweight kernel")]
    NoLwk,
    /// A node with several LWKs.
    #[error("this version runs one `[[lwk]]` for each node file; this is number {0}")]
    SeveralLwks(usize),
    /// `[lwk]` for `[[lwk]]`.
    #[error("`lwk` is a single table, but must be an array of tables")]
    SingleLwk,
    /// A name that could not stand in a report or a file name.
    #[error("`name` must be 1 to 32 letters, digits, `-` or `_`")]
    BadName,
    /// An empty program.
    #[error("`program` is empty")]
    EmptyProgram,
    /// A string that no program could be given.
    #[error("{0} has a NUL character; a program's strings end at the first one")]
    NulCharacter(String),
    /// A variable's name that Linux's environment cannot hold.
    #[error("`{0}` cannot be the name of an environment variable: it is empty or has a `=`")]
    BadVariable(String),
}

const MEMORY_HINT: &str =
    "write a whole number and a unit, as \"512M\" or \"1GiB\" (K, M, G, T; all are binary)";
const CORES_HINT: &str =
    "write a list, as [1, 2] or \"1-3,5\"; or \"auto\"; an LWK can also have the \"rest\"";

impl Explain for Problem {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Problem::Syntax(_)
            | Problem::SeveralLwks(_)
            | Problem::NulCharacter(_)
            | Problem::BadVariable(_) => return None,
            Problem::UnknownKey { key, known, .. } => return Some(suggest(key, known)),
            Problem::WrongType { example, .. } => return Some(format!("write {example}")),
            Problem::NotAWord { allowed, .. } => {
                return Some(format!("write one of {}", quoted(allowed)));
            }
            Problem::ServiceVm => {
                "write kind = \"host\" (or leave it out): this host's Linux serves the calls"
            }
            Problem::NotMemory { .. } => MEMORY_HINT,
            Problem::NotAPart { .. } => "write a fraction of what is available, as \"1/2\"",
            Problem::NotCores(_) | Problem::NoCores => CORES_HINT,
            Problem::OutOfRange { .. } => "write a number in that range",
            Problem::NoLwk => "add a line [[lwk]]; every key of it has a default",
            Problem::SingleLwk => "write [[lwk]], with two brackets on each side",
            Problem::BadName => "write a name as name = \"solver-1\"",
            Problem::EmptyProgram => {
                "write a path or a name in PATH, or leave it out and give one with `margay run FILE -- PROGRAM`"
            }
        };
        Some(text.to_owned())
    }
}

/// The known key that was probably meant, or all of them.
fn suggest(key: &str, known: &[&str]) -> String {
    let (distance, nearest) = known
        .iter()
        .map(|candidate| (edit_distance(key, candidate), *candidate))
        .min()
        .expect("every table of a node file has keys");
    if distance <= 2 && distance < nearest.len() {
        format!("did you mean `{nearest}`?")
    } else {
        format!("the keys here are {}", known.join(", "))
    }
}

/// Levenshtein's distance: the least number of characters to insert, delete or replace.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
