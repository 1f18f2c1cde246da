//! `[service]`: the Linux that serves delegated calls.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::config::reader::TableReader;
use crate::config::{
    CoreChoice, DEFAULT_BOOT_DEADLINE, DEFAULT_SERVICE_MEMORY, DEFAULT_SPIN, DiskConfig, Located,
    MAX_CMDLINE, MemoryChoice, PageChoice, Problem, ServiceChoice, ServiceConfig, ServiceVmConfig,
    Span, value,
};

/// Keys for every service OS.
const COMMON: usize = 3;
/// Of these, all after the first [`COMMON`] are a service VM's.
const KEYS: &[&str] = &[
    "kind",
    "cores",
    "spin_us",
    "memory",
    "pages",
    "kernel",
    "initramfs",
    "cmdline",
    "disk",
    "net",
    "files",
    "boot_s",
];
const DISK_KEYS: &[&str] = &["path", "read_only"];
/// Longest time that a proxy may be told to poll: a minute.
const MAX_SPIN_US: u64 = 60_000_000;
/// Longest time that a service VM may be given to boot, in seconds: an hour.
const MAX_BOOT_S: u64 = 3600;

pub(super) fn read<'t>(file: &mut TableReader<'t, '_>, table: &'t DeTable<'t>) -> ServiceConfig {
    let mut reader = file.inner(table, "[service]", KEYS);
    let kind = reader.read("kind", |kind| value::word("kind", &["host", "vm"], kind));
    let misread = kind.is_none() && reader.raw("kind").is_some();
    let cores = reader.read("cores", value::cores);
    let spin = reader.read("spin_us", |spin| value::number("spin_us", (0, MAX_SPIN_US), spin));
    let kind = match kind {
        Some(Located { value: 1, span }) => {
            ServiceChoice::Vm(Box::new(read_vm(&mut reader, span.unwrap_or_default())))
        }
        _ => ServiceChoice::Host,
    };
    // What a `kind` that cannot be read was to be is not known.
    if kind == ServiceChoice::Host && !misread {
        for &key in &KEYS[COMMON..] {
            if let Some(value) = reader.raw(key) {
                reader.note(value.span(), Err::<(), _>(Problem::OnlyForVm(key)));
            }
        }
    }
    ServiceConfig {
        cores: cores.unwrap_or(Located::default_value(CoreChoice::Auto)),
        spin: spin.map_or(DEFAULT_SPIN, |spin| Duration::from_micros(spin.value)),
        kind,
    }
}

fn read_vm(reader: &mut TableReader<'_, '_>, kind: Span) -> ServiceVmConfig {
    let memory = MemoryChoice::Size(DEFAULT_SERVICE_MEMORY);
    let files = read_paths(reader, "files", "files = [\"/etc/solver.conf\"]").unwrap_or_default();
    for file in &files {
        let through_parent = file.value.components().any(|part| part.as_os_str() == "..");
        if through_parent {
            reader.note(file.span.clone(), Err::<(), _>(Problem::ParentInFiles));
        }
    }
    ServiceVmConfig {
        kind,
        memory: (reader.read("memory", value::memory)).unwrap_or(Located::default_value(memory)),
        pages: (reader.read("pages", value::pages))
            .unwrap_or(Located::default_value(PageChoice::Auto)),
        kernel: reader.read("kernel", |v| value::path("kernel", "kernel = \"vmlinuz\"", v)),
        initramfs: read_initramfs(reader),
        cmdline: reader.read("cmdline", read_cmdline).map_or(String::new(), |at| at.value),
        disk: read_disk(reader),
        net: reader.read("net", read_net),
        files,
        boot_deadline: (reader.read("boot_s", |v| value::number("boot_s", (1, MAX_BOOT_S), v)))
            .map_or(DEFAULT_BOOT_DEADLINE, |at| Duration::from_secs(at.value)),
    }
}

fn read_initramfs(reader: &mut TableReader<'_, '_>) -> Option<Vec<Located<PathBuf>>> {
    const EXAMPLE: &str = "initramfs = \"initrd.img\", or several in a list";
    match reader.raw("initramfs")?.get_ref() {
        DeValue::Array(_) => read_paths(reader, "initramfs", EXAMPLE),
        _ => Some(vec![reader.read("initramfs", |v| value::path("initramfs", EXAMPLE, v))?]),
    }
}

/// A list of paths; `None` where it is missing or not a list. Elements that are no path are noted and left out.
fn read_paths(
    reader: &mut TableReader<'_, '_>,
    key: &'static str,
    example: &'static str,
) -> Option<Vec<Located<PathBuf>>> {
    let value = reader.raw(key)?;
    let problem = || value::wrong_type(key, value.get_ref(), "a list of paths", example);
    let elements = reader.note(value.span(), value.get_ref().as_array().ok_or_else(problem))?;
    let mut paths = Vec::new();
    for element in elements.iter() {
        let path = reader.note(element.span(), value::path(key, example, element.get_ref()));
        paths.extend(path.map(|value| Located { value, span: Some(element.span()) }));
    }
    Some(paths)
}

/// A path, or a table of a path and whether the guest may write.
fn read_disk(reader: &mut TableReader<'_, '_>) -> Option<Located<DiskConfig>> {
    const EXAMPLE: &str =
        "disk = \"root.img\", or disk = { path = \"root.img\", read_only = true }";
    let value = reader.raw("disk")?;
    let DeValue::Table(table) = value.get_ref() else {
        let path = reader.read("disk", |v| value::path("disk", EXAMPLE, v))?;
        return Some(path.map(|path| DiskConfig { path, read_only: false }));
    };
    let mut disk = reader.inner(table, "`disk`", DISK_KEYS);
    if disk.raw("path").is_none() {
        return disk.note(value.span(), Err(Problem::DiskWithoutPath));
    }
    let path = disk.read("path", |v| value::path("path", EXAMPLE, v));
    let read_only = disk.read("read_only", |v| value::truth("read_only", v));
    let read_only = read_only.is_some_and(|at| at.value);
    path.map(|path| path.map(|path| DiskConfig { path, read_only }))
}

/// What a kernel's command line can hold on one line.
fn read_cmdline(value: &DeValue<'_>) -> Result<String, Problem> {
    let cmdline = value::text("cmdline", "it as cmdline = \"quiet loglevel=3\"", value)?;
    match cmdline.len() {
        ..=MAX_CMDLINE if !cmdline.contains(char::is_control) => Ok(cmdline),
        _ => Err(Problem::BadCmdline),
    }
}

/// A name that Linux accepts for a network device (`dev_valid_name`).
fn read_net(value: &DeValue<'_>) -> Result<String, Problem> {
    const MAX: usize = libc::IFNAMSIZ - 1;
    let net = value::text("net", "it as net = \"tap0\"", value)?;
    let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    match net.len() {
        1..=MAX if net != "." && net != ".." && !net.contains(refused) => Ok(net),
        _ => Err(Problem::BadNet),
    }
}
