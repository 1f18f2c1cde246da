//! The smallest VM that can answer a question: one vCPU, some pages, no device.

use std::time::{Duration, Instant};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, Msrs, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};

use super::ProbeError;
use super::guest::{self, Level, MEMORY_BYTES, PORT, STACK_TOP, Snippet};

/// Reserved bit 1, which is always set, and I/O privilege level 3, so that `out` works at CPL 3 (SDM vol. 1, 3.4.3).
const RFLAGS: u64 = 0b10 | 3 << 12;

/// A VM with the snippets of [`guest`].
pub(super) struct MicroVm {
    vcpu: VcpuFd,
    deadline: Instant,
    // The fields below live as long as the vCPU: the VM's memory must stay where it is.
    _vm: VmFd,
    _memory: GuestMemoryMmap<()>,
}

impl MicroVm {
    /// Makes it. Runs that are interrupted by a signal after `deadline` end with [`ProbeError::TimeLimit`].
    pub(super) fn new(kvm: &Kvm, deadline: Instant) -> Result<MicroVm, ProbeError> {
        let refused = |what| move |error| ProbeError::Kvm(what, error);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)])
            .map_err(|_| ProbeError::Memory)?;
        for (address, bytes) in guest::contents() {
            memory.write_slice(&bytes, GuestAddress(address)).map_err(|_| ProbeError::Memory)?;
        }
        let vm = kvm.create_vm().map_err(refused("make a VM"))?;
        let start = memory.get_host_address(GuestAddress(0)).map_err(|_| ProbeError::Memory)?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY_BYTES as u64,
            userspace_addr: start.addr() as u64,
        };
        // SAFETY: the region is one mapping of `MEMORY_BYTES` bytes, which is kept in the same struct as the VM and
        // dropped after it; only the guest writes to it from now on.
        unsafe { vm.set_user_memory_region(region) }.map_err(refused("give a VM memory"))?;
        let vcpu = vm.create_vcpu(0).map_err(refused("make a vCPU"))?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(refused("say what CPUID it supports"))?;
        vcpu.set_cpuid2(&cpuid).map_err(refused("set CPUID"))?;
        let msrs = Msrs::from_entries(&guest::syscall_msrs()).expect("three MSRs are a short list");
        vcpu.set_msrs(&msrs).map_err(refused("set the MSRs of syscall"))?;
        Ok(MicroVm { vcpu, deadline, _vm: vm, _memory: memory })
    }

    /// Runs a snippet from its start to its first report: the time, and what it reported.
    pub(super) fn start(
        &mut self,
        snippet: Snippet,
        level: Level,
        loops: u32,
    ) -> Result<(Duration, u32), ProbeError> {
        self.finish_exit()?;
        let refused = |what| move |error| ProbeError::Kvm(what, error);
        let mut sregs = self.vcpu.get_sregs().map_err(refused("show a vCPU's state"))?;
        guest::enter_long_mode(&mut sregs, level);
        self.vcpu.set_sregs(&sregs).map_err(refused("start a vCPU in 64-bit mode"))?;
        let regs = kvm_regs {
            rip: snippet.address(),
            rsp: STACK_TOP,
            rflags: RFLAGS,
            rcx: u64::from(loops),
            ..kvm_regs::default()
        };
        self.vcpu.set_regs(&regs).map_err(refused("set a vCPU's registers"))?;
        self.run()
    }

    /// Goes on to the next report: the time of one exit.
    pub(super) fn again(&mut self) -> Result<Duration, ProbeError> {
        self.run().map(|(time, _)| time)
    }

    fn run(&mut self) -> Result<(Duration, u32), ProbeError> {
        loop {
            let start = Instant::now();
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(PORT, data)) => {
                    let value = data.try_into().map_or(0, u32::from_le_bytes);
                    return Ok((start.elapsed(), value));
                }
                Ok(exit) => return Err(ProbeError::Unexpected(format!("{exit:?}"))),
                Err(error) if error.errno() == libc::EINTR && Instant::now() < self.deadline => {}
                Err(error) if error.errno() == libc::EINTR => return Err(ProbeError::TimeLimit),
                Err(error) => return Err(ProbeError::Kvm("run a vCPU", error)),
            }
        }
    }

    /// Lets KVM finish the last `out`: until then the registers are not the user's to set (KVM API, 5, `KVM_EXIT_IO`).
    fn finish_exit(&mut self) -> Result<(), ProbeError> {
        self.vcpu.set_kvm_immediate_exit(1);
        let finished = self.vcpu.run().map(|exit| format!("{exit:?}"));
        self.vcpu.set_kvm_immediate_exit(0);
        match finished {
            Err(error) if error.errno() == libc::EINTR => Ok(()),
            Err(error) => Err(ProbeError::Kvm("finish an exit", error)),
            Ok(exit) => Err(ProbeError::Unexpected(exit)),
        }
    }
}
