//! Booting a service VM: its devices, its files, and waiting for its agent.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use margay_initramfs::Archive;

use super::{Booted, CONSOLE_LINES, ServiceError, agent};
use crate::linux::virtio::{
    BlockDevice, ConsoleDevice, DiskAccess, MacAddress, MacError, NetDevice, Rng, Tap,
    VirtioDevice, VsockDevice,
};
use crate::linux::{Console, ConsoleWriter, LinuxConfig, LinuxEnd, LinuxVm};
use crate::memory::GuestMemory;
use crate::node::poll;
use crate::partition::ServiceVmPlan;

/// Time between two tries to reach the agent.
const RETRY: Duration = Duration::from_millis(50);
/// How long the agent may take to answer once it listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// Boots a VM and waits for its agent.
pub(super) fn boot(
    plan: &ServiceVmPlan,
    shared: &[Arc<GuestMemory>],
    interrupt: Option<RawFd>,
) -> Result<Booted, ServiceError> {
    let kvm = Kvm::new().map_err(ServiceError::Kvm)?;
    let (vsock, host) = VsockDevice::new().map_err(ServiceError::system("make a vsock device"))?;
    let console = Arc::new(Console::default());
    // `/dev/hvc0`: the same console as the serial port's, a page at a time instead of an exit for each byte.
    let fast_console = ConsoleDevice::new(Box::new(ConsoleWriter(Arc::clone(&console))), None)
        .map_err(ServiceError::system("make a console"))?;
    let mut devices: Vec<Box<dyn VirtioDevice>> =
        vec![Box::new(vsock), Box::new(Rng::default()), Box::new(fast_console)];
    if let Some(disk) = &plan.disk {
        let access = if disk.read_only { DiskAccess::ReadOnly } else { DiskAccess::ReadWrite };
        devices.push(Box::new(BlockDevice::open(&disk.path, access, "margay-disk")?));
    }
    if let Some(tap) = &plan.net {
        devices.push(Box::new(NetDevice::new(Tap::open(tap)?, mac_of(tap)?)?));
    }
    let config = LinuxConfig {
        name: "service".to_owned(),
        cores: plan.cores.clone(),
        memory: plan.memory,
        pages: plan.pages.into(),
        kernel: plan.kernel.clone(),
        initramfs: plan.initramfs.clone(),
        extra_files: archive(&plan.files)?,
        cmdline: plan.cmdline.clone(),
        console,
        devices,
        shared: shared.to_vec(),
    };
    let vm = LinuxVm::start(&kvm, config)?;
    let deadline = Instant::now() + plan.boot_deadline;
    loop {
        if let Some(control) = agent::try_ping(&host, PATIENCE) {
            return Ok(Booted { vm, host, control });
        }
        let console = || vm.console().tail(CONSOLE_LINES);
        let ended = vm.ended().as_raw_fd();
        let mut sources = vec![ended];
        sources.extend(interrupt);
        let ready = poll::readable(&sources, RETRY);
        if interrupt.is_some_and(|fd| ready.contains(&fd)) {
            return Err(ServiceError::Interrupted);
        }
        if ready.contains(&ended) {
            let how = match vm.end() {
                Some(LinuxEnd::Failed(how)) => format!("the service VM has failed: {how}"),
                Some(LinuxEnd::PoweredOff) => "the service VM has switched itself off".to_owned(),
                _ => "the service VM panicked or rebooted before its agent answered".to_owned(),
            };
            return Err(ServiceError::Ended { how, console: console() });
        }
        if Instant::now() > deadline {
            return Err(ServiceError::Deadline { limit: plan.boot_deadline, console: console() });
        }
    }
}

/// What the kernel said last of a panic, without its time stamp.
pub(super) fn panic_line(console: &Console) -> Option<String> {
    const LINES: usize = 400;
    let text = console.tail(LINES);
    let at = text.rfind("Kernel panic")?;
    text[at..].lines().next().map(str::to_owned)
}

/// A locally administered address that is the same whenever this tap device is used.
fn mac_of(tap: &str) -> Result<MacAddress, MacError> {
    let mut hasher = DefaultHasher::new();
    tap.hash(&mut hasher);
    let [a, b, c, d, e, ..] = hasher.finish().to_le_bytes();
    format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}").parse()
}

/// The files of this host that the VM is to have, at the same paths.
fn archive(files: &[PathBuf]) -> Result<Vec<u8>, ServiceError> {
    let mut archive = Archive::default();
    for path in files {
        let failed = |source| ServiceError::File { path: path.clone(), source };
        let data = fs::read(path).map_err(failed)?;
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        let name = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
        archive.file(name.trim_start_matches('/'), mode, &data);
    }
    Ok(if files.is_empty() { Vec::new() } else { archive.finish() })
}
