//! The lightweight kernel.
//!
//! It boots in a few thousand instructions, maps its partition's memory eagerly in large pages, runs one unmodified Linux program,
//! does itself what is hot or local (memory, clocks, identity, exit), and lets the proxy on Linux do the rest. It has no
//! timer, no driver and no file system.
//!
//! | module | what it does |
//! |---|---|
//! | [`arch`] | boot, segments, exceptions, the call gate, the privilege gate: all asm, all that knows the isolation mode |
//! | [`kernel`] | the state there is one of |
//! | [`memory`] | the LWK's own mappings, frames, tables, heap |
//! | [`proxy`] | delegation: the call channel and the map log |
//! | [`program`] | loading the program, the vDSO, the first stack |
//! | [`syscall`] | triage, and the calls that are local |
//! | [`rewrite`] | turning `syscall` sites into jumps, in fused mode |
//! | [`fault`] | exceptions: the program's end by a signal, or the LWK's own |
//! | [`report`] | what the VMM can read: log, last calls, counters |

#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod fault;
mod kernel;
mod memory;
mod program;
mod proxy;
mod report;
mod rewrite;
mod syscall;

use margay_abi::boot::BootInfo;
use margay_abi::layout;

/// The LWK's first Rust code, on the boot page tables, at the privilege level of its isolation mode. `boot_gpa` is where
/// the boot record lies.
extern "C" fn start(boot_gpa: u64) -> ! {
    // SAFETY: the first PVH module is the boot record (the VMM's contract); the boot tables map the first GiB at
    // `DIRECT_MAP`, and the VMM does not write the record while the guest runs.
    let boot: BootInfo = unsafe { *((layout::DIRECT_MAP + boot_gpa) as *const BootInfo) };
    let kernel = kernel::init(boot);
    program::run(kernel)
}
