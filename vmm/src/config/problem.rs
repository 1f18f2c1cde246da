//! What can be wrong in a node file by itself, without regard to the host.

use crate::config::{Explain, MAX_CMDLINE, MAX_LWKS, MAX_NAME};
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
    /// A service VM's key without a service VM.
    #[error("`{0}` is for a service OS in a VM, but here this host's Linux is the service OS")]
    OnlyForVm(&'static str),
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
    /// More LWKs than a node can have.
    #[error("a node has at most {MAX_LWKS} lightweight kernels; this one has {0}")]
    TooManyLwks(usize),
    /// `[lwk]` for `[[lwk]]`.
    #[error("`lwk` is a single table, but must be an array of tables")]
    SingleLwk,
    /// A name that could not stand in a report or a file name.
    #[error("`name` must be 1 to {MAX_NAME} letters, digits, `-` or `_`")]
    BadName,
    /// An LWK's name that commands use for something else.
    #[error("an LWK cannot have the name \"service\": commands mean the service OS by it")]
    ReservedName,
    /// A name that an LWK before has.
    #[error("the name \"{name}\" is taken by the LWK of line {line}")]
    DuplicateName {
        /// The name.
        name: String,
        /// Where the LWK before has it, or begins if it has it by default; from 1.
        line: usize,
    },
    /// No permissions of a file.
    #[error("`socket_mode` cannot be \"{0}\": permissions are octal, from 0 to 0777")]
    BadMode(String),
    /// An empty path.
    #[error("`{0}` is empty")]
    EmptyPath(&'static str),
    /// A table `disk` without `path`.
    #[error("`disk` does not say which file: it has no `path`")]
    DiskWithoutPath,
    /// A path that would not be the same in the service VM.
    #[error("a path in `files` cannot have `..`: the file gets the same path in the service VM")]
    ParentInFiles,
    /// No name of a network device.
    #[error(
        "`net` must be the name of a network device: 1 to 15 characters, without `/`, `:` and spaces"
    )]
    BadNet,
    /// No command line of a kernel.
    #[error("`cmdline` must be one line of at most {MAX_CMDLINE} bytes without control characters")]
    BadCmdline,
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
    "write a list, as [1, 2] or \"1-3,5\"; or \"auto\"; one of the node can have the \"rest\"";

impl Explain for Problem {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Problem::Syntax(_)
            | Problem::TooManyLwks(_)
            | Problem::BadCmdline
            | Problem::NulCharacter(_)
            | Problem::BadVariable(_) => return None,
            Problem::UnknownKey { key, known, .. } => return Some(suggest(key, known)),
            Problem::WrongType { example, .. } => return Some(format!("write {example}")),
            Problem::NotAWord { allowed, .. } => {
                return Some(format!("write one of {}", quoted(allowed)));
            }
            Problem::OnlyForVm(_) => "write kind = \"vm\" in [service], or leave this key out",
            Problem::NotMemory { .. } => MEMORY_HINT,
            Problem::NotAPart { .. } => "write a fraction of what is available, as \"1/2\"",
            Problem::NotCores(_) | Problem::NoCores => CORES_HINT,
            Problem::OutOfRange { .. } => "write a number in that range",
            Problem::NoLwk => "add a line [[lwk]]; every key of it has a default",
            Problem::SingleLwk => "write [[lwk]], with two brackets on each side",
            Problem::BadName => "write a name as name = \"solver-1\"",
            Problem::ReservedName | Problem::DuplicateName { .. } => {
                "give it another name; without `name`, LWKs are lwk0, lwk1 and so on by position"
            }
            Problem::BadMode(_) => "write it as for chmod: socket_mode = \"0600\"",
            Problem::EmptyPath(_) => {
                "write a path, which may be relative to the node file's directory"
            }
            Problem::DiskWithoutPath => "write disk = { path = \"root.img\", read_only = true }",
            Problem::ParentInFiles => "write the path without `..`, best an absolute one",
            Problem::BadNet => "write the name of a tap device, as net = \"tap0\"",
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
