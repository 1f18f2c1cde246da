//! A partition as a table for people and as data for programs.

use std::fmt::Write as _;

use margay_abi::boot::{Delegation, Isolation};
use serde::Serialize;

use crate::config::{CoreChoice, IsolationChoice, MemoryChoice, NodeConfig, PageChoice};
use crate::partition::{Note, Partition, Resources};
use crate::text::{duration, wrap};
use crate::units::{Bytes, CoreId, CoreSet};

/// The data of `margay check --json`. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct PartitionRecord<'a> {
    /// The service OS.
    pub service: ServiceRecord<'a>,
    /// The LWKs; one in this version.
    pub lwk: [LwkRecord<'a>; 1],
    /// Usable cores that nobody has.
    pub unused_cores: CoreSet,
    /// What the user might wonder about.
    pub notes: &'a [Note],
}

/// The service OS of a [`PartitionRecord`].
#[derive(Debug, Serialize)]
pub struct ServiceRecord<'a> {
    /// `host`.
    pub kind: &'static str,
    /// Its cores.
    pub cores: &'a CoreSet,
    /// How long a proxy polls, in microseconds.
    pub spin_us: u128,
}

/// An LWK of a [`PartitionRecord`].
#[derive(Debug, Serialize)]
pub struct LwkRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its cores.
    pub cores: &'a [CoreId],
    /// Its memory.
    pub memory: Bytes,
    /// `auto`, `2M` or `4K`.
    pub pages: PageChoice,
    /// Whether 2 MiB pages will back its memory; null where that was not tried.
    pub large_pages: Option<bool>,
    /// `protected` or `fused`.
    pub isolation: &'static str,
    /// Why.
    pub isolation_reason: &'a str,
    /// `queue` or `hypercall`.
    pub delegation: &'static str,
    /// Size of the program's stack.
    pub stack: Bytes,
    /// The program, if the node file names one.
    pub program: Option<&'a std::path::Path>,
    /// Its arguments.
    pub args: &'a [String],
    /// Variables to add to its environment: name and value.
    pub env: &'a [(String, String)],
}

impl<'a> PartitionRecord<'a> {
    /// The data of a partition.
    pub fn new(partition: &'a Partition, host: &Resources) -> PartitionRecord<'a> {
        let lwk = &partition.lwk;
        PartitionRecord {
            service: ServiceRecord {
                kind: "host",
                cores: &partition.service_cores,
                spin_us: partition.spin.as_micros(),
            },
            lwk: [LwkRecord {
                name: &lwk.name,
                cores: &lwk.cores,
                memory: lwk.memory,
                pages: lwk.pages,
                large_pages: match lwk.pages {
                    PageChoice::Small => Some(false),
                    PageChoice::Auto | PageChoice::Large => host.large_pages,
                },
                isolation: isolation_name(lwk.isolation),
                isolation_reason: &lwk.isolation_reason,
                delegation: delegation_name(lwk.delegation),
                stack: lwk.stack,
                program: lwk.program.as_deref(),
                args: &lwk.args,
                env: &lwk.env,
            }],
            unused_cores: unused(partition, host),
            notes: &partition.notes,
        }
    }
}

/// The word of the node file.
pub const fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Protected => "protected",
        Isolation::Fused => "fused",
    }
}

/// The word of the node file.
pub const fn delegation_name(delegation: Delegation) -> &'static str {
    match delegation {
        Delegation::Queue => "queue",
        Delegation::Hypercall => "hypercall",
    }
}

/// Draws the table.
pub fn render(node: &NodeConfig, partition: &Partition, host: &Resources) -> String {
    let lwk = &partition.lwk;
    let lwk_cores: CoreSet = lwk.cores.iter().copied().collect();
    let left = host.available.saturating_sub(lwk.memory);
    let asked_memory = memory_text(&node.lwk.memory.value);
    let mut rows = vec![
        ["", "cores", "memory", "asked for"].map(str::to_owned),
        [
            "service OS".to_owned(),
            partition.service_cores.to_string(),
            left.to_string(),
            format!("cores {}, the memory that is left", cores_text(&node.service.cores.value)),
        ],
        [
            format!("LWK {}", lwk.name),
            lwk_cores.to_string(),
            lwk.memory.to_string(),
            format!("cores {}, memory {asked_memory}", cores_text(&node.lwk.cores.value)),
        ],
    ];
    let unused = unused(partition, host);
    if !unused.is_empty() {
        rows.push(["nobody", &unused.to_string(), "", ""].map(str::to_owned));
    }
    let mut page = format!(
        "{}: {} cores and {} of memory to give\n\n",
        node.source.path.display(),
        host.cores.usable.len(),
        host.available
    );
    draw_table(&mut page, &rows);
    let _ = writeln!(page, "\nLWK {}", lwk.name);
    for (key, value) in details(node, partition, host) {
        let _ = writeln!(page, "  {key:13} {}", wrap(&value, 16));
    }
    for note in &partition.notes {
        let _ = writeln!(page, "note: {}", wrap(&note.0, 6));
    }
    page
}

/// A table with a rule under its head, each column as wide as its widest cell.
fn draw_table(page: &mut String, rows: &[[String; 4]]) {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for (number, row) in rows.iter().enumerate() {
        let line: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} ")).collect();
        let _ = writeln!(page, " {}", line.join("|").trim_end());
        if number == 0 {
            let rule = widths.map(|width| "-".repeat(width + 2)).join("+");
            let _ = writeln!(page, " {rule}");
        }
    }
}

fn details(
    node: &NodeConfig,
    partition: &Partition,
    host: &Resources,
) -> [(&'static str, String); 6] {
    let lwk = &partition.lwk;
    let pages = match (lwk.pages, host.large_pages) {
        (PageChoice::Small, _) => "4 KiB (the node file asks for it)",
        (PageChoice::Auto, Some(false)) => "4 KiB (auto: this host has no 2 MiB pages for it)",
        (PageChoice::Auto, _) => "2 MiB (auto: this host has them)",
        (PageChoice::Large, _) => "2 MiB (the node file asks for it)",
    };
    let auto = node.lwk.isolation.value == IsolationChoice::Auto;
    let reason = lwk.isolation_reason.as_str();
    let delegation = match lwk.delegation {
        Delegation::Queue => {
            let spin = duration(partition.spin.as_nanos() as f64);
            format!("queue; the proxy polls for {spin} before it sleeps")
        }
        Delegation::Hypercall => "hypercall: an exit for each call".to_owned(),
    };
    let program = match &lwk.program {
        Some(program) => command_line(program.display().to_string(), &lwk.args),
        None => "none; name one: margay run FILE -- PROGRAM".to_owned(),
    };
    let env: Vec<_> = lwk.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let env = if env.is_empty() {
        "inherited".to_owned()
    } else {
        format!("inherited, and {}", env.join(" "))
    };
    let isolation = isolation_name(lwk.isolation);
    [
        ("pages", pages.to_owned()),
        ("isolation", if auto { format!("{isolation} ({reason})") } else { isolation.to_owned() }),
        ("delegation", delegation),
        ("stack", lwk.stack.to_string()),
        ("program", program),
        ("environment", env),
    ]
}

/// A command line as it could be typed.
fn command_line(program: String, args: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quote = |arg: &String| match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.clone(),
        false => format!("'{}'", arg.replace('\'', r"'\''")),
    };
    [program].iter().chain(args).map(quote).collect::<Vec<_>>().join(" ")
}

fn cores_text(choice: &CoreChoice) -> String {
    match choice {
        CoreChoice::Auto => "auto".to_owned(),
        CoreChoice::Rest => "rest".to_owned(),
        CoreChoice::Set(cores) => cores.to_string(),
    }
}

fn memory_text(choice: &MemoryChoice) -> String {
    match choice {
        MemoryChoice::Auto => "auto".to_owned(),
        MemoryChoice::Rest => "rest".to_owned(),
        MemoryChoice::Size(size) => size.to_string(),
        MemoryChoice::Part(part) => part.to_string(),
    }
}

fn unused(partition: &Partition, host: &Resources) -> CoreSet {
    let lwk: CoreSet = partition.lwk.cores.iter().copied().collect();
    host.cores.usable.difference(&partition.service_cores).difference(&lwk)
}
