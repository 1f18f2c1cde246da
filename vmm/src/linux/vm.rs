//! A Linux guest from its start to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use kvm_ioctls::{Kvm, VcpuFd};
use vmm_sys_util::eventfd::EventFd;

use super::boot::{Boot, BootError};
use super::console::Console;
use super::end::{Ending, LinuxEnd};
use super::error::LinuxError;
use super::events;
use super::layout::Layout;
use super::machine::{Machine, Memory};
use super::pci::MAX_FUNCTIONS;
use super::vcpu::{Vcpu, VcpuLocation};
use super::virtio::VirtioDevice;
use super::{acpi, cpuid, registers};
use crate::affinity;
use crate::lwk::remote::install_signal;
use crate::memory::{GuestMemory, PageRequest};
use crate::units::{Bytes, CoreId};

/// The most processors: as many as 8 bits of APIC id number, without the one that means all of them.
const MAX_CPUS: usize = 254;

/// The beginning of every command line: where messages go; a panic resets at once, by ACPI; ports that are not there are not
/// probed.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 reboot=acpi 8250.nr_uarts=1";

/// What a Linux guest is made of.
pub struct LinuxConfig {
    /// Its name, for its threads.
    pub name: String,
    /// Its cores: one processor each, bound to it. They may be others' too.
    pub cores: Vec<CoreId>,
    /// Its RAM, a multiple of 2 MiB.
    pub memory: Bytes,
    /// The page size of its RAM.
    pub pages: PageRequest,
    /// Its kernel: a bzImage, an ELF vmlinux, or an ELF file with a PVH entry.
    pub kernel: PathBuf,
    /// Archives of its first file system, unpacked one over the other.
    pub initramfs: Vec<PathBuf>,
    /// A further archive, unpacked last. May be empty.
    pub extra_files: Vec<u8>,
    /// More of the command line, behind what the VMM says itself.
    pub cmdline: String,
    /// What its serial port writes to.
    pub console: Arc<Console>,
    /// Its virtio devices, in the order of their PCI slots.
    pub devices: Vec<Box<dyn VirtioDevice>>,
    /// Memory of LWKs that it shares, each a soft-reserved region and in the end a `/dev/dax`.
    pub shared: Vec<Arc<GuestMemory>>,
}

/// A running Linux guest. Dropping it stops it.
pub struct LinuxVm {
    ending: Arc<Ending>,
    console: Arc<Console>,
    shared_addresses: Vec<u64>,
    vcpus: Vec<Vcpu>,
    devices: Option<JoinHandle<()>>,
    // Held in this order: the guest goes before its memory.
    machine: Machine,
    _memory: Memory,
}

impl LinuxVm {
    /// Boots the guest that `config` describes. It runs when this returns; how far it is, its console tells.
    ///
    /// # Errors
    /// [`LinuxError`], and then nothing of the guest is left.
    pub fn start(kvm: &Kvm, config: LinuxConfig) -> Result<LinuxVm, LinuxError> {
        let count = check(kvm, &config)?;
        let boot = Boot::open(&config.kernel, &config.initramfs, config.extra_files)?;
        install_signal().map_err(LinuxError::system("install a signal handler"))?;
        let supported = cpuid::supported(kvm)?;
        let sizes: Vec<u64> = config.shared.iter().map(|memory| memory.bytes()).collect();
        let layout = Layout::new(config.memory, &sizes, cpuid::address_bits(&supported))?;
        let memory = Memory::new(&layout, config.pages, config.shared)?;

        let rsdp = acpi::write(&memory.all, count).map_err(BootError::from)?;
        let command_line = format!("{COMMAND_LINE} {}", config.cmdline);
        let entry = boot.load(&memory.all, &layout, command_line.trim_end(), rsdp)?;

        let ending = Arc::new(Ending::new().map_err(LinuxError::system("make an eventfd"))?);
        let console = config.console;
        let machine = Machine::new(kvm, &memory, config.devices, (&ending, &console))?;
        let vcpus = machine.make_vcpus(&supported, count)?;
        registers::set_entry(&vcpus[0], entry, &memory.all)?;

        let shared_addresses = layout.shared().iter().map(|(start, _)| *start).collect();
        let mut guest = LinuxVm {
            ending,
            console,
            shared_addresses,
            vcpus: Vec::new(),
            devices: None,
            machine,
            _memory: memory,
        };
        // If a thread cannot be had, dropping `guest` ends those that run.
        guest.run(&config.name, &config.cores, vcpus)?;
        Ok(guest)
    }

    fn run(&mut self, name: &str, cores: &[CoreId], fds: Vec<VcpuFd>) -> Result<(), LinuxError> {
        let failed = LinuxError::system("start a thread");
        let (devices, ending) = (self.machine.devices.clone(), Arc::clone(&self.ending));
        let all: Vec<CoreId> = cores.to_vec();
        let body = move || {
            // Not to be bound is no more than slower.
            let _ = affinity::bind(all);
            events::serve(devices, &ending);
        };
        let thread = std::thread::Builder::new().name(format!("{name}/io")).spawn(body);
        self.devices = Some(thread.map_err(failed)?);
        for (fd, (index, core)) in fds.into_iter().zip(cores.iter().copied().enumerate()) {
            let bus = Arc::clone(&self.machine.bus);
            let vcpu = Vcpu::start(fd, (index, core), name, bus);
            self.vcpus.push(vcpu.map_err(LinuxError::system("start a thread"))?);
        }
        Ok(())
    }

    /// What it has written on its console.
    pub fn console(&self) -> Arc<Console> {
        Arc::clone(&self.console)
    }

    /// Guest-physical addresses of the shared memories, in the order in which they were given.
    pub fn shared_addresses(&self) -> &[u64] {
        &self.shared_addresses
    }

    /// Readable from the moment the guest has ended. Not to be read: other threads wait for it too.
    pub fn ended(&self) -> &EventFd {
        self.ending.event()
    }

    /// How it ended; `None` while it runs.
    pub fn end(&self) -> Option<LinuxEnd> {
        self.ending.get()
    }

    /// Where each of its processors is, for a report of a guest that hangs. Takes a second for each that does not answer.
    pub fn locate(&self) -> Vec<VcpuLocation> {
        self.vcpus.iter().map(Vcpu::locate).collect()
    }

    /// Stops the guest where it stands, and frees everything. Returns how it ended: [`LinuxEnd::Stopped`] if it had not.
    pub fn stop(mut self) -> LinuxEnd {
        self.halt();
        self.ending.get().unwrap_or(LinuxEnd::Stopped)
    }

    fn halt(&mut self) {
        self.ending.set(LinuxEnd::Stopped);
        self.vcpus.drain(..).for_each(Vcpu::join);
        if let Some(devices) = self.devices.take() {
            // A panic is in the guest's end already.
            let _ = devices.join();
        }
    }
}

impl Drop for LinuxVm {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Checks what costs nothing to check; returns the number of processors.
fn check(kvm: &Kvm, config: &LinuxConfig) -> Result<u8, LinuxError> {
    let limit = MAX_CPUS.min(kvm.get_max_vcpus());
    let asked = config.cores.len();
    if asked == 0 || asked > limit {
        return Err(LinuxError::Cores { asked, limit });
    }
    for &core in &config.cores {
        affinity::check(core).map_err(|source| LinuxError::Core { core, source })?;
    }
    if config.devices.len() > MAX_FUNCTIONS {
        return Err(LinuxError::Devices { asked: config.devices.len(), limit: MAX_FUNCTIONS });
    }
    Ok(asked as u8)
}
