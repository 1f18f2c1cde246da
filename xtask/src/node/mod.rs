//! The virtual node: a machine with hardware virtualization on any machine.
//!
//! QEMU's TCG emulates AMD's SVM, so the stock Debian kernel inside has a true `/dev/kvm` whatever the host's is.
//! Times mean nothing there; what is right or wrong does. One boot runs one command: [`kernel`] gets the kernel,
//! [`image`] packs the initramfs, [`machine`] runs QEMU and carries bytes between the command and us.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use crate::{dist, error::Error, paths};

pub mod image;
pub mod kernel;
pub mod machine;
mod marker;

pub use machine::NodeError;

/// What `./x node` takes.
#[derive(clap::Args)]
pub struct NodeArgs {
    /// Number of virtual cores
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Memory of the node, with a unit
    #[arg(long, default_value = "4G", value_parser = memory_size)]
    memory: String,
    /// Puts a file or folder of this machine into the node; GUEST is an absolute path, by default /NAME
    #[arg(long = "file", value_name = "HOST[:GUEST]")]
    files: Vec<String>,
    /// Seconds after which the node is stopped
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Shows the node's boot messages on stderr
    #[arg(short, long)]
    verbose: bool,
    /// Uses dist/ as it is instead of building it first
    #[arg(long)]
    no_build: bool,
    /// The command to run in the node, where dist/ is /margay
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What becomes of the kernel's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BootMessages {
    /// Kept for an error report.
    Keep,
    /// Also written to stderr.
    Show,
}

/// A command to run in a fresh virtual node, and the machine to run it on.
pub struct Job {
    /// Number of virtual cores.
    pub cpus: u32,
    /// Memory in QEMU's notation: a number and M or G.
    pub memory: String,
    /// Files and folders to put into the node: here, and there.
    pub files: Vec<(PathBuf, String)>,
    /// When to give up.
    pub time_limit: Duration,
    /// What becomes of the kernel's messages.
    pub boot_messages: BootMessages,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

impl Job {
    /// Boots, runs, stops. The command's streams are ours; returns its exit status, 128+n for signal n.
    pub fn run(&self) -> Result<u8, Error> {
        let kernel = kernel::Kernel::find_or_download()?;
        let marker = marker::new().map_err(Error::io("read", marker::SOURCE.as_ref()))?;
        let initramfs = image::build(&kernel, self, &marker)?;
        machine::run(self, &kernel, &initramfs, &marker)
    }
}

/// `./x node`.
pub fn run_for_user(args: &NodeArgs) -> Result<ExitCode, Error> {
    if !args.no_build {
        dist::build()?;
    }
    let job = Job {
        cpus: args.cpus,
        memory: args.memory.clone(),
        files: args.files.iter().map(|spec| host_and_guest(spec)).collect(),
        time_limit: Duration::from_secs(args.timeout),
        boot_messages: if args.verbose { BootMessages::Show } else { BootMessages::Keep },
        command: args.command.clone(),
    };
    job.run().map(ExitCode::from)
}

/// Splits `HOST[:GUEST]`; without GUEST the file keeps its name, at the node's top.
fn host_and_guest(spec: &str) -> (PathBuf, String) {
    let (host, guest) = match spec.rsplit_once(":/") {
        Some((host, guest)) => (host, guest.to_owned()),
        None => (spec, spec.trim_end_matches('/').rsplit('/').next().unwrap_or(spec).to_owned()),
    };
    (paths::from_user(host.as_ref()), guest)
}

/// Checks `4G`, `512M`, `512MiB` and turns it into QEMU's notation.
fn memory_size(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.trim_end_matches('B').trim_end_matches('I');
    let number = short.strip_suffix(['M', 'G']).unwrap_or("");
    match number.parse::<u32>() {
        Ok(n) if n > 0 => Ok(short.to_owned()),
        _ => Err("want a number and a unit, like 512M or 4G".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{host_and_guest, memory_size};

    #[test]
    fn memory_needs_number_and_unit() {
        assert_eq!(memory_size("4G").unwrap(), "4G");
        assert_eq!(memory_size("512MiB").unwrap(), "512M");
        for bad in ["", "G", "4", "0M", "-1G", "4T", "1.5G"] {
            assert!(memory_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_keep_their_name_unless_told() {
        assert_eq!(host_and_guest("/a/b:/c/d").1, "c/d");
        assert_eq!(host_and_guest("/a/b").1, "b");
        assert_eq!(host_and_guest("/a/b/").1, "b");
        assert_eq!(host_and_guest("/a/b:/c").0, std::path::Path::new("/a/b"));
    }
}
