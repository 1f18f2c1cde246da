//! The state that there is one of.

use core::cell::{OnceCell, RefCell, RefMut};
use core::sync::atomic::Ordering::Relaxed;

use lwk_core::space::AddressSpace;
use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::layout;
use margay_abi::stats::CallStats;
use margay_abi::status::StatusPage;
use margay_abi::time::TimePage;

use crate::arch::privilege::Privilege;
use crate::arch::{cpu, segments};
use crate::memory::{self, Guest};
use crate::proxy::Proxy;
use crate::syscall::process::Process;

/// The kernel.
pub struct Kernel {
    /// What the VMM said at boot.
    pub boot: BootInfo,
    /// How processes and the LWK are kept apart.
    pub isolation: Isolation,
    /// What the VMM can read.
    pub status: &'static StatusPage,
    /// Call statistics, when the VMM wants them.
    pub stats: Option<&'static CallStats>,
    /// The clocks.
    pub time: &'static TimePage,
    /// The program's address space.
    pub memory: OneCore<AddressSpace<Guest>>,
    /// The way to Linux.
    pub proxy: OneCore<Proxy>,
    /// The program.
    pub process: OneCore<Process>,
}

/// State that one core uses. The LWK runs on one core and is never preempted by itself (an exception inside it ends it), so a
/// borrow that is checked at run time takes the place of a lock; a second core would make it one.
pub struct OneCore<T>(RefCell<T>);

// SAFETY: only one core runs Rust code.
unsafe impl<T> Sync for OneCore<T> {}

impl<T> OneCore<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        OneCore(RefCell::new(value))
    }

    /// The state, until the guard is dropped.
    ///
    /// # Panics
    /// If it is in use: a bug.
    pub fn get(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}

struct Once(OnceCell<Kernel>);

// SAFETY: only one core runs Rust code.
unsafe impl Sync for Once {}

static KERNEL: Once = Once(OnceCell::new());

/// The kernel, once [`init`] is done.
pub fn kernel() -> &'static Kernel {
    KERNEL.0.get().expect("the kernel is set up before anything asks for it")
}

/// The kernel, if it is set up: for reports of what went wrong before.
pub fn try_kernel() -> Option<&'static Kernel> {
    KERNEL.0.get()
}

/// Sets everything up: memory first, since all else needs the heap.
pub fn init(boot: BootInfo) -> &'static Kernel {
    let status: &StatusPage = memory::shared(layout::STATUS_PAGE);
    status.tsc_kernel.store(cpu::read_tsc(), Relaxed);
    assert!(
        boot.magic == BootInfo::MAGIC && boot.version == BootInfo::VERSION,
        "the boot record is of another version: margay and margay-lwk must come from the same build"
    );
    let isolation = boot.isolation().expect("the boot record names an isolation mode");
    let privilege = Privilege(isolation);
    if isolation == Isolation::Fused {
        segments::allow_only_hypercall_ports();
    }
    status.ignored_signals.store(boot.ignored_signals, Relaxed);
    let proxy = Proxy::new(&boot, privilege);
    let memory = memory::init(&boot, privilege);
    let kernel = Kernel {
        isolation,
        status,
        stats: (boot.collect_stats != 0).then(|| memory::shared(layout::CALL_STATS)),
        time: memory::shared(layout::TIME_PAGE),
        memory: OneCore::new(memory),
        proxy: OneCore::new(proxy),
        process: OneCore::new(Process::new(&boot)),
        boot,
    };
    KERNEL.0.get_or_init(|| kernel)
}
