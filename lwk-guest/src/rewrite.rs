//! Turning `syscall` sites into jumps, in fused mode.
//!
//! At first every `syscall` goes through the slow entry. When enough have come from one mapping to pay for it, the proxy
//! disassembles that mapping and plans all its sites at once (`abi::rewrite`), and the LWK applies the plan. Nothing else runs
//! meanwhile: the program is inside one of those calls.

use core::mem::size_of;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use alloc::vec;
use lwk_core::space::{Kind, MapFlags, Prot};
use margay_abi::Errno;
use margay_abi::calls::private;
use margay_abi::layout::PAGE;
use margay_abi::rewrite::{Patch, PlanHeader, STUB_AREA_START};

use crate::arch::{gate, usercopy};
use crate::kernel::Kernel;
use crate::program::write_text;
use crate::syscall::delegate_checked;

/// Escapes from a mapping after which its sites are rewritten. A plan takes some milliseconds, an escape some microseconds on
/// a pagetable-based KVM: by then about as much was lost as a plan costs.
const THRESHOLD: u32 = 512;
/// The most text to look through.
const TEXT_MAX: u64 = 256 << 20;
/// The stub area of a mapping, at most.
const STUBS_MAX: u64 = 1 << 20;
/// How far a stub may be from its site: `jmp rel32` reaches 2 GiB, and stubs refer back.
const REACH: u64 = 1 << 30;

/// Counts an escape whose call returns to `rip`, and rewrites its mapping when it is time.
pub fn note_escape(kernel: &'static Kernel, rip: u64) {
    let site = rip - 1;
    let area = {
        let mut memory = kernel.memory.get();
        if memory.count_escape(site) != Some(THRESHOLD) {
            return;
        }
        memory.mark_rewritten(site);
        memory.area_at(site).map(|area| area.range())
    };
    // A mapping that cannot be rewritten goes on escaping: slower, not wrong.
    if let Some(text) = area.filter(|text| text.end - text.start <= TEXT_MAX) {
        let _ = rewrite(kernel, text);
    }
}

fn rewrite(kernel: &'static Kernel, text: Range<u64>) -> Result<(), Errno> {
    let bytes = text.end - text.start;
    // Generous: a site takes about 40 bytes of stub and comes at most every hundred bytes of text.
    let stub_bytes = (bytes / 2).next_multiple_of(PAGE).min(STUBS_MAX);
    let plan_bytes = stub_bytes * 4;
    let flags = (MapFlags::PRIVATE | MapFlags::ANONYMOUS).bits();
    let writable = u64::from((Prot::READ | Prot::WRITE).bits());
    let (stubs, plan) = {
        let mut memory = kernel.memory.get();
        let stubs = memory.find_near(&text, stub_bytes, REACH).ok_or(Errno::ENOMEM)?;
        (stubs, memory.mmap(0, plan_bytes, writable, flags)?)
    };
    let args = [text.start, bytes, stubs, stub_bytes, plan, plan_bytes];
    let applied = delegate_checked(kernel, private::PLAN_REWRITE, args)
        .and_then(|_| apply(kernel, stubs, plan));
    kernel.memory.get().munmap(plan, plan_bytes)?;
    applied
}

/// Applies the plan at `plan`: first the stubs, then the jumps to them.
fn apply(kernel: &'static Kernel, stubs: u64, plan: u64) -> Result<(), Errno> {
    let header = usercopy::read::<PlanHeader>(plan)?;
    let patches = plan + size_of::<PlanHeader>() as u64;
    let code = patches + u64::from(header.patches) * size_of::<Patch>() as u64;
    let mut stub_code = vec![0; header.stub_bytes as usize];
    usercopy::read_bytes(code, &mut stub_code)?;

    let area = stubs..stubs + (STUB_AREA_START + stub_code.len() as u64).next_multiple_of(PAGE);
    let mut memory = kernel.memory.get();
    memory.map_fixed(area, Prot::READ | Prot::EXEC, Kind::Stubs)?;
    write_text(&mut memory, stubs, &gate::fused_gate().to_le_bytes());
    write_text(&mut memory, stubs + STUB_AREA_START, &stub_code);
    for index in 0..u64::from(header.patches) {
        let patch = usercopy::read::<Patch>(patches + index * size_of::<Patch>() as u64)?;
        let len = (patch.len as usize).min(patch.bytes.len());
        write_text(&mut memory, patch.addr, &patch.bytes[..len]);
    }
    let rewritten = &kernel.status.rewritten;
    rewritten.store(rewritten.load(Relaxed) + u64::from(header.patches), Relaxed);
    Ok(())
}
