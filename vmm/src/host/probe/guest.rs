//! The probe's guest: a page of hand-assembled code and the state that starts a vCPU in 64-bit mode right at it, so that
//! no boot code need run (and be emulated, where CPL 0 is).

use kvm_bindings::{kvm_msr_entry, kvm_segment, kvm_sregs};

/// Guest memory, from guest-physical 0. Mapped one to one.
pub(super) const MEMORY_BYTES: usize = 0x8000;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
/// The page of code.
const CODE: u64 = 0x4000;
/// Bytes kept for each snippet.
const SNIPPET_BYTES: u64 = 0x40;
/// Top of the stack, which no snippet uses.
pub(super) const STACK_TOP: u64 = 0x6000;

/// The port that a snippet reports to.
pub(super) const PORT: u16 = 0x4d14;

/// A privilege level and its segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Level {
    code_selector: u16,
    data_selector: u16,
    ring: u8,
}

/// The selectors that `IA32_STAR` below leads `syscall` to.
pub(super) const CPL0: Level = Level { code_selector: 0x08, data_selector: 0x10, ring: 0 };
/// The selectors that 64-bit Linux has.
pub(super) const CPL3: Level = Level { code_selector: 0x33, data_selector: 0x2b, ring: 3 };

/// A piece of guest code. Each ends with a loop of `out PORT, eax`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Snippet {
    /// ECX times: two instructions.
    Spin,
    /// ECX times: `rdtsc` and two instructions.
    ReadTsc,
    /// One `syscall`.
    Syscall,
    /// Where `syscall` leads: reports CS.
    Entry,
}

impl Snippet {
    const ALL: [Snippet; 4] = [Snippet::Spin, Snippet::ReadTsc, Snippet::Syscall, Snippet::Entry];

    /// Its first instruction.
    pub(super) const fn address(self) -> u64 {
        CODE + self as u64 * SNIPPET_BYTES
    }

    const fn code(self) -> &'static [u8] {
        match self {
            // 1: dec ecx; jnz 1b
            Snippet::Spin => &[0xff, 0xc9, 0x75, 0xfc],
            // 1: rdtsc; dec ecx; jnz 1b
            Snippet::ReadTsc => &[0x0f, 0x31, 0xff, 0xc9, 0x75, 0xfa],
            // syscall
            Snippet::Syscall => &[0x0f, 0x05],
            // mov eax, cs
            Snippet::Entry => &[0x8c, 0xc8],
        }
    }
}

/// mov dx, PORT; 1: out dx, eax; jmp 1b
const REPORT: [u8; 7] = {
    let [low, high] = PORT.to_le_bytes();
    [0x66, 0xba, low, high, 0xef, 0xeb, 0xfd]
};

/// What guest memory holds: where, and which bytes.
pub(super) fn contents() -> Vec<(u64, Vec<u8>)> {
    // Page-table entry bits (SDM vol. 3, 4.5): present, writable, user, and a large page in the page directory.
    const TABLE: u64 = 0b111;
    const LARGE: u64 = TABLE | 1 << 7;
    let tables = [(PML4, PDPT | TABLE), (PDPT, PD | TABLE), (PD, LARGE)];
    let tables = tables.map(|(address, entry)| (address, entry.to_le_bytes().to_vec()));
    let snippet = |snippet: Snippet| (snippet.address(), [snippet.code(), &REPORT].concat());
    tables.into_iter().chain(Snippet::ALL.map(snippet)).collect()
}

/// Changes a vCPU's reset state to 64-bit mode at a privilege level (SDM vol. 3, 10.8.5; selectors need no descriptor
/// table as long as nothing reloads them).
pub(super) fn enter_long_mode(sregs: &mut kvm_sregs, level: Level) {
    const CR0_PE: u64 = 1;
    const CR0_MP: u64 = 1 << 1;
    const CR0_ET: u64 = 1 << 4;
    const CR0_NE: u64 = 1 << 5;
    const CR0_WP: u64 = 1 << 16;
    const CR0_PG: u64 = 1 << 31;
    const CR4_PAE: u64 = 1 << 5;
    const EFER_SCE: u64 = 1;
    const EFER_LME: u64 = 1 << 8;
    const EFER_LMA: u64 = 1 << 10;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    sregs.cr3 = PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_SCE | EFER_LME | EFER_LMA;
    // Flat: present, not a system segment, 4 KiB granularity.
    let flat = kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        dpl: level.ring,
        ..kvm_segment::default()
    };
    // Type 11: code, readable, accessed. Type 3: data, writable, accessed.
    sregs.cs = kvm_segment { selector: level.code_selector, type_: 11, l: 1, ..flat };
    let data = kvm_segment { selector: level.data_selector, type_: 3, db: 1, ..flat };
    (sregs.ss, sregs.ds, sregs.es, sregs.fs, sregs.gs) = (data, data, data, data, data);
}

/// The MSRs of `syscall` (SDM vol. 3, 5.8.8): it goes to [`Snippet::Entry`] with the segments of [`CPL0`] and keeps all flags.
pub(super) fn syscall_msrs() -> [kvm_msr_entry; 3] {
    const IA32_STAR: u32 = 0xc000_0081;
    const IA32_LSTAR: u32 = 0xc000_0082;
    const IA32_FMASK: u32 = 0xc000_0084;
    // sysret adds 8 for SS and 16 for CS to its base.
    let sysret_base = u64::from(CPL3.data_selector - 8);
    let star = sysret_base << 48 | u64::from(CPL0.code_selector) << 32;
    [(IA32_STAR, star), (IA32_LSTAR, Snippet::Entry.address()), (IA32_FMASK, 0)]
        .map(|(index, data)| kvm_msr_entry { index, data, ..kvm_msr_entry::default() })
}

#[cfg(test)]
mod tests {
    use super::{MEMORY_BYTES, SNIPPET_BYTES, contents};

    #[test]
    fn snippets_fit_their_places_and_the_memory() {
        for (address, bytes) in contents() {
            assert!(bytes.len() as u64 <= SNIPPET_BYTES);
            assert!(address as usize + bytes.len() <= MEMORY_BYTES);
        }
    }
}
