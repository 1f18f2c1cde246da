//! What the VMM tells the LWK at boot.

/// How processes and the LWK are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Isolation {
    /// LWK at CPL 0, program at CPL 3; `syscall` enters the kernel. Needs hardware virtualization to be fast.
    Protected = 1,
    /// LWK and program share CPL 3; a system call is a function call. The VM is the wall.
    Fused = 2,
}

/// How delegated calls reach the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Delegation {
    /// Both sides poll the channel; a doorbell only for a side that sleeps.
    Queue = 1,
    /// One exit for each call; the VMM relays it.
    Hypercall = 2,
}

/// The boot record, at [`crate::layout::BOOT_INFO`]; the first PVH module points to it. Written by the VMM before
/// the guest starts, only read by the LWK.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BootInfo {
    /// [`BootInfo::MAGIC`].
    pub magic: u64,
    /// [`BootInfo::VERSION`].
    pub version: u32,
    /// An [`Isolation`].
    pub isolation: u32,
    /// A [`Delegation`].
    pub delegation: u32,
    /// Nonzero: time every call into [`crate::stats::CallStats`].
    pub collect_stats: u32,
    /// Guest memory in bytes, from guest-physical 0 without holes.
    pub memory_bytes: u64,
    /// Size of the program's stack in bytes, a multiple of a large page.
    pub stack_bytes: u64,
    /// Bytes of the program block at [`crate::layout::ARGS`]: `1 + argc + envc` NUL-terminated strings, the first the
    /// path of the program, then the arguments, then the environment.
    pub args_bytes: u64,
    /// Number of argument strings.
    pub argc: u32,
    /// Number of environment strings.
    pub envc: u32,
    /// Cores of the partition, as the program sees them.
    pub cores: u32,
    /// Process id of the proxy, which is also the program's.
    pub pid: u32,
    /// Real and effective user and group ids: uid, euid, gid, egid.
    pub ids: [u32; 4],
    /// How long the LWK polls for a reply before it halts the core, in TSC cycles.
    pub spin_cycles: u64,
    /// The program file: an open descriptor of the proxy, closed by the LWK after loading.
    pub program_fd: u32,
    /// Nonzero: the LWK may use 1 GiB pages. Said here because CPUID may be the host's: a pagetable-based KVM cannot trap
    /// the instruction at CPL 3 on every processor.
    pub huge_pages: u32,
    /// Random bytes for the program's `AT_RANDOM`.
    pub random: [u8; 16],
    /// TSC cycles per second.
    pub tsc_hz: u64,
    /// Signals that the program ignores from its start, as its caller did: bit `n - 1` for signal `n`.
    pub ignored_signals: u64,
    /// Nonzero: free memory holds what an earlier boot of this LWK left there, and must be cleared before a program sees it. Zero: it is
    /// zero.
    pub memory_dirty: u64,
}

impl BootInfo {
    /// "MARGAYLW".
    pub const MAGIC: u64 = u64::from_le_bytes(*b"MARGAYLW");
    /// Version of this whole crate; see the crate's rule for changes.
    pub const VERSION: u32 = 2;

    /// The isolation mode; `None` if the VMM wrote something else.
    pub const fn isolation(&self) -> Option<Isolation> {
        match self.isolation {
            1 => Some(Isolation::Protected),
            2 => Some(Isolation::Fused),
            _ => None,
        }
    }

    /// The delegation path; `None` if the VMM wrote something else.
    pub const fn delegation(&self) -> Option<Delegation> {
        match self.delegation {
            1 => Some(Delegation::Queue),
            2 => Some(Delegation::Hypercall),
            _ => None,
        }
    }
}

const _: () = assert!(core::mem::size_of::<BootInfo>() == 136);
