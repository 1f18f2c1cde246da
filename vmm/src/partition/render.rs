//! A partition as a table for people.

use std::fmt::Write as _;
use std::path::Path;

use margay_abi::boot::{Delegation, Isolation};

use crate::config::{CoreChoice, IsolationChoice, LwkConfig, MemoryChoice, NodeConfig, PageChoice};
use crate::config::{ServiceChoice, ServiceConfig};
use crate::partition::memory::page_structures;
use crate::partition::{LwkPlan, Partition, Resources, ServiceKind, ServicePlan, ServiceVmPlan};
use crate::text::{duration, wrap};
use crate::units::{Bytes, CoreSet};

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
    let mut rows = vec![["", "cores", "memory", "asked for"].map(str::to_owned)];
    rows.push(service_row(&node.service, partition, host));
    rows.extend(node.lwks.iter().zip(&partition.lwks).map(lwk_row));
    let unused = unused(partition, host);
    if !unused.is_empty() {
        rows.push(["nobody", &unused.to_string(), "", ""].map(str::to_owned));
    }
    let mut page = format!(
        "{}: node {}, {} cores and {} of memory to give\n\n",
        node.source.path.display(),
        partition.name,
        host.cores.usable.len(),
        host.available
    );
    draw_table(&mut page, &rows);
    if let ServiceKind::Vm(vm) = &partition.service.kind {
        let lwks = partition.lwks.iter().map(|lwk| lwk.memory);
        draw_details(&mut page, "service OS in a VM", &vm_details(vm, host, page_structures(lwks)));
    }
    for (config, lwk) in node.lwks.iter().zip(&partition.lwks) {
        let details = lwk_details(config, lwk, &partition.service, host);
        draw_details(&mut page, &format!("LWK {}", lwk.name), &details);
    }
    for note in &partition.notes {
        let _ = writeln!(page, "note: {}", wrap(&note.0, 6));
    }
    page
}

fn service_row(asked: &ServiceConfig, partition: &Partition, host: &Resources) -> [String; 4] {
    let cores = cores_text(&asked.cores.value);
    let given = partition.lwks.iter().fold(0, |sum: u64, lwk| sum.saturating_add(lwk.memory.0));
    let (memory, asked) = match (&partition.service.kind, &asked.kind) {
        (ServiceKind::Vm(vm), ServiceChoice::Vm(config)) => {
            let memory = memory_text(&config.memory.value);
            (vm.memory, format!("cores {cores}, memory {memory}"))
        }
        _ => {
            let left = host.available.saturating_sub(Bytes(given));
            (left, format!("cores {cores}, the memory that is left"))
        }
    };
    let cores = partition.service.cores.to_string();
    ["service OS".to_owned(), cores, memory.to_string(), asked]
}

fn lwk_row((asked, lwk): (&LwkConfig, &LwkPlan)) -> [String; 4] {
    let cores: CoreSet = lwk.cores.iter().copied().collect();
    let choice = [cores_text(&asked.cores.value), memory_text(&asked.memory.value)];
    [
        format!("LWK {}", lwk.name),
        cores.to_string(),
        lwk.memory.to_string(),
        format!("cores {}, memory {}", choice[0], choice[1]),
    ]
}

/// A head line, and below it keys with their values.
fn draw_details(page: &mut String, head: &str, details: &[(&'static str, String)]) {
    let _ = writeln!(page, "\n{head}");
    for (key, value) in details {
        let _ = writeln!(page, "  {key:13} {}", wrap(value, 16));
    }
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

fn lwk_details(
    config: &LwkConfig,
    lwk: &LwkPlan,
    service: &ServicePlan,
    host: &Resources,
) -> Vec<(&'static str, String)> {
    let auto = config.isolation.value == IsolationChoice::Auto;
    let isolation = isolation_name(lwk.isolation);
    let isolation = match auto {
        true => format!("{isolation} ({})", lwk.isolation_reason),
        false => isolation.to_owned(),
    };
    let delegation = match lwk.delegation {
        Delegation::Queue => {
            let spin = duration(service.spin.as_nanos() as f64);
            format!("queue; the proxy polls for {spin} before it sleeps")
        }
        Delegation::Hypercall => "hypercall: an exit for each call".to_owned(),
    };
    let program = match &lwk.program {
        Some(program) => command_line(program.display().to_string(), &lwk.args),
        None => "none; name one: margay run FILE -- PROGRAM".to_owned(),
    };
    let env: Vec<_> = lwk.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let env = match env.is_empty() {
        true => "inherited".to_owned(),
        false => format!("inherited, and {}", env.join(" ")),
    };
    let watch = match lwk.watch {
        Some(every) => format!("every {} s whether it hangs", every.as_secs()),
        None => "never whether it hangs".to_owned(),
    };
    let mut details = vec![
        ("pages", pages_text(lwk.pages, host).to_owned()),
        ("isolation", isolation),
        ("delegation", delegation),
        ("stack", lwk.stack.to_string()),
        ("program", program),
        ("environment", env),
        ("looked at", watch),
    ];
    details.extend(lwk.image.as_ref().map(|image| ("image", image.display().to_string())));
    details
}

/// `structures` is what the LWKs' memory costs the VM.
fn vm_details(
    vm: &ServiceVmPlan,
    host: &Resources,
    structures: Bytes,
) -> Vec<(&'static str, String)> {
    let list = |paths: &[std::path::PathBuf]| match paths {
        [] => "none".to_owned(),
        _ => paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" "),
    };
    let path = |path: &Path| path.display().to_string();
    let mut details = vec![
        ("vCPUs", format!("{}, one on each core", vm.cores.len())),
        ("memory", format!("{}, of which {structures} describe the LWKs' memory", vm.memory)),
        ("pages", pages_text(vm.pages, host).to_owned()),
        ("kernel", path(&vm.kernel)),
        ("initramfs", list(&vm.initramfs)),
    ];
    if !vm.cmdline.is_empty() {
        details.push(("command line", format!("..., and {}", vm.cmdline)));
    }
    details.extend(vm.disk.as_ref().map(|disk| {
        let how = if disk.read_only { "read only" } else { "read and written" };
        ("disk", format!("{}, {how}", path(&disk.path)))
    }));
    details.extend(vm.net.as_ref().map(|net| ("network", format!("tap device {net}"))));
    if !vm.files.is_empty() {
        details.push(("files", list(&vm.files)));
    }
    details.push(("boots within", format!("{} s", vm.boot_deadline.as_secs())));
    details
}

fn pages_text(pages: PageChoice, host: &Resources) -> &'static str {
    match (pages, host.large_pages) {
        (PageChoice::Small, _) => "4 KiB (the node file asks for it)",
        (PageChoice::Auto, Some(false)) => "4 KiB (auto: this host has no 2 MiB pages for it)",
        (PageChoice::Auto, _) => "2 MiB (auto: this host has them)",
        (PageChoice::Large, _) => "2 MiB (the node file asks for it)",
    }
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

/// Usable cores that nobody has.
pub(super) fn unused(partition: &Partition, host: &Resources) -> CoreSet {
    let lwks = partition.lwks.iter().flat_map(|lwk| lwk.cores.iter().copied()).collect();
    host.cores.usable.difference(&partition.service.cores).difference(&lwks)
}
