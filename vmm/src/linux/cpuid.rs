//! What a guest's processor says it is: the host's KVM's word, with the topology of the guest.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use super::LinuxError;

/// Leaf 1 ECX: a LAPIC timer that fires at a TSC value. KVM has it, but leaves it to the VMM to say so.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: leaf 1 EBX counts processors.
const HTT: u32 = 1 << 28;
/// Physical address bits where leaf 0x8000_0008 is missing (SDM vol 2, CPUID).
const DEFAULT_ADDRESS_BITS: u32 = 36;

/// The CPUID that this KVM supports, as a starting point for each processor.
pub fn supported(kvm: &Kvm) -> Result<CpuId, LinuxError> {
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(LinuxError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
    let deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    for entry in cpuid.as_mut_slice().iter_mut().filter(|entry| entry.function == 1) {
        entry.ecx |= HYPERVISOR | if deadline { TSC_DEADLINE } else { 0 };
    }
    Ok(cpuid)
}

/// Bits of a guest-physical address.
pub fn address_bits(cpuid: &CpuId) -> u32 {
    let leaf = cpuid.as_slice().iter().find(|entry| entry.function == 0x8000_0008);
    leaf.map_or(DEFAULT_ADDRESS_BITS, |leaf| leaf.eax & 0xff)
}

/// `supported`, for processor `id` of `count`: cores of one package, one thread each. Its APIC id is `id`.
pub fn of_processor(supported: &CpuId, id: u8, count: u8) -> CpuId {
    let mut cpuid = supported.clone();
    for entry in cpuid.as_mut_slice() {
        set_topology(entry, u32::from(id), u32::from(count));
    }
    cpuid
}

/// Intel SDM vol 2 "CPUID", AMD APM vol 3 appendix E.
fn set_topology(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    let bits = u32::BITS - (count - 1).leading_zeros();
    match (entry.function, entry.index) {
        (1, _) => {
            entry.ebx = entry.ebx & 0xffff | count << 16 | id << 24;
            entry.edx = entry.edx & !HTT | if count > 1 { HTT } else { 0 };
        }
        // Caches: the first level is a core's own. EAX[31:26] cores of the package, [25:14] processors that share.
        (4 | 0x8000_001d, _) if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level < 3 { 0 } else { count - 1 };
            let cores = if entry.function == 4 { (count - 1).min(63) << 26 } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14 | cores;
        }
        // Extended topology: threads of a core, then cores of the package.
        (0xb | 0x1f, 0) => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 1, 1 << 8, id);
        }
        (0xb | 0x1f, 1) => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (bits, count, 2 << 8 | 1, id);
        }
        (0xb | 0x1f, index) => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, index, id);
        }
        // AMD: processors of the package, and bits of the APIC id that number them.
        (0x8000_0008, _) if entry.ecx != 0 || count > 1 => entry.ecx = bits << 12 | (count - 1),
        // AMD: APIC id; core, with one thread; node.
        (0x8000_001e, _) => (entry.eax, entry.ebx, entry.ecx) = (id, id & 0xff, 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{address_bits, of_processor};
    use kvm_bindings::{CpuId, kvm_cpuid_entry2};

    fn leaves() -> CpuId {
        let leaf =
            |function, index, eax| kvm_cpuid_entry2 { function, index, eax, ..Default::default() };
        let leaves =
            [leaf(1, 0, 0), leaf(0xb, 0, 0), leaf(0xb, 1, 0), leaf(0x8000_0008, 0, 0x3028)];
        CpuId::from_entries(&leaves).unwrap()
    }

    #[test]
    fn each_processor_has_its_own_id() {
        for (id, count) in [(0, 1), (2, 3), (253, 254)] {
            let cpuid = of_processor(&leaves(), id, count);
            let [one, threads, cores, _] = cpuid.as_slice() else { panic!("as many leaves") };
            assert_eq!(one.ebx >> 24, u32::from(id));
            assert_eq!(threads.edx, u32::from(id));
            assert_eq!(cores.ebx, u32::from(count));
            assert!(1 << cores.eax >= u32::from(count) && 1 << cores.eax < 2 * u32::from(count));
        }
    }

    #[test]
    fn address_bits_are_the_processors() {
        assert_eq!(address_bits(&leaves()), 40);
    }
}
