//! What the user could change on this host to get more, each with the command that does it.

use std::path::Path;

use serde::Serialize;

use crate::host::HostFacts;
use crate::units::{Bytes, CoreId, CoreSet};

/// Something to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What it gives.
    pub gain: String,
    /// The command.
    pub command: String,
    /// What else must be done or known.
    pub note: Option<String>,
}

impl Advice {
    /// Advice without a note.
    pub(super) fn new(gain: impl Into<String>, command: impl Into<String>) -> Advice {
        Advice { gain: gain.into(), command: command.into(), note: None }
    }

    /// The same with a note.
    pub(super) fn note(self, note: impl Into<String>) -> Advice {
        Advice { note: Some(note.into()), ..self }
    }
}

/// All advice that applies to a host, the most important first.
pub fn advise(host: &HostFacts) -> Vec<Advice> {
    let candidates = [
        fix_kvm(host),
        get_hardware(host),
        second_level_paging(host),
        isolate(host),
        stop_sibling(host),
        governor(host),
        lock_memory(host),
        large_pages(host),
        free_pool(host),
        nx_huge_pages(host),
    ];
    candidates.into_iter().flatten().collect()
}

/// The core that an LWK with `cores = "auto"` gets.
pub fn auto_core(usable: &CoreSet, isolated: &CoreSet) -> Option<CoreId> {
    usable.intersection(isolated).iter().next_back().or_else(|| usable.iter().next_back())
}

fn fix_kvm(host: &HostFacts) -> Option<Advice> {
    let remedy = host.kvm.remedy.clone()?;
    Some(Advice { gain: format!("KVM, without which nothing runs: {}", remedy.gain), ..remedy })
}

fn get_hardware(host: &HostFacts) -> Option<Advice> {
    if host.verdict.protected.available || host.kvm.behaviour.is_none() {
        return None;
    }
    let gain = "isolation = \"protected\", by hardware virtualization";
    let module = host.cores.kvm_module;
    Some(match (&host.cores.virtualization, host.cores.virtual_machine) {
        (Some(_), _) => Advice::new(gain, format!("sudo modprobe {module}"))
            .note("the processor has it, but another module answers at /dev/kvm: unload that first"),
        (None, true) => Advice::new(
            gain,
            format!("echo 'options {module} nested=1' | sudo tee /etc/modprobe.d/kvm.conf"),
        )
        .note(
            "on the machine outside, if it has it; then reload the module there and start this virtual machine anew \
             with the host's CPU model",
        ),
        (None, false) => Advice::new(gain, "sudo systemctl reboot --firmware-setup")
            .note("and switch on VT-x or AMD-V there"),
    })
}

/// Hardware virtualization without EPT or NPT.
fn second_level_paging(host: &HostFacts) -> Option<Advice> {
    let off = |module: &str, parameter: &str| {
        let path = format!("/sys/module/{module}/parameters/{parameter}");
        let value = super::read_line(path)?;
        if !["N", "0"].contains(&value.as_str()) {
            return None;
        }
        let gain = format!("second-level page tables ({module} is loaded with {parameter} off)");
        let command = format!("sudo modprobe -r {module} && sudo modprobe {module} {parameter}=1");
        Some(Advice::new(gain, command))
    };
    host.kvm.behaviour?;
    off("kvm_intel", "ept").or_else(|| off("kvm_amd", "npt"))
}

fn isolate(host: &HostFacts) -> Option<Advice> {
    let core = auto_core(&host.cores.usable, &host.cores.isolated)?;
    let isolated = host.cores.isolated.contains(core);
    let tickless = host.cores.nohz_full.as_ref().map(|cores| cores.contains(core));
    if host.cores.usable.len() < 2 || (isolated && tickless != Some(false)) {
        return None;
    }
    let mut parameters = Vec::new();
    if !isolated {
        parameters.push(format!("isolcpus=domain,managed_irq,{core}"));
    }
    if tickless == Some(false) {
        parameters.push(format!("nohz_full={core} rcu_nocbs={core}"));
    }
    let parameters = parameters.join(" ");
    let gain = format!("a core {core} without other tasks, interrupts and ticks");
    let advice = Advice::new(gain, kernel_parameters(&parameters));
    Some(match tickless {
        Some(_) => advice.note("then reboot"),
        None => advice.note(
            "then reboot; ticks stay, because this kernel is built without CONFIG_NO_HZ_FULL",
        ),
    })
}

/// The command that adds parameters to the kernel's command line: Debian's, Red Hat's, or else only what to add.
fn kernel_parameters(parameters: &str) -> String {
    if Path::new("/usr/sbin/update-grub").exists() {
        let edit = format!("s/^GRUB_CMDLINE_LINUX=\"/&{parameters} /");
        format!("sudo sed -i '{edit}' /etc/default/grub && sudo update-grub")
    } else if Path::new("/usr/sbin/grubby").exists() {
        format!("sudo grubby --update-kernel=ALL --args=\"{parameters}\"")
    } else {
        format!("cat /proc/cmdline   # add in your boot loader: {parameters}")
    }
}

fn stop_sibling(host: &HostFacts) -> Option<Advice> {
    let core = auto_core(&host.cores.usable, &host.cores.isolated)?;
    let siblings = host.cores.siblings(core).intersection(&host.cores.online);
    let sibling = siblings.iter().find(|sibling| sibling.0 != 0)?;
    Some(
        Advice::new(
            format!(
                "a whole physical core for the LWK: core {core} shares its with core {sibling}"
            ),
            format!("echo 0 | sudo tee /sys/devices/system/cpu/cpu{sibling}/online"),
        )
        .note("until the next reboot"),
    )
}

fn governor(host: &HostFacts) -> Option<Advice> {
    let slow = host.cores.governors.iter().find(|governor| *governor != "performance")?;
    Some(
        Advice::new(
            format!("full clock speed at once (the governor is {slow})"),
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
        .note("until the next reboot"),
    )
}

fn lock_memory(host: &HostFacts) -> Option<Advice> {
    let limit = host.memory.lock_limit.filter(|limit| *limit < host.memory.total)?;
    Some(
        Advice::new(
            format!("guest memory that is never swapped (you may lock {limit})"),
            "echo \"$USER - memlock unlimited\" | sudo tee /etc/security/limits.d/margay.conf",
        )
        .note("then log in again"),
    )
}

fn large_pages(host: &HostFacts) -> Option<Advice> {
    let error = host.pages.collapse_error.as_ref()?;
    Some(
        Advice::new(
            format!("2 MiB pages for guest memory ({error})"),
            "echo 1 | sudo tee /proc/sys/vm/compact_memory",
        )
        .note("helps where memory is fragmented; Linux before 6.1 must be updated"),
    )
}

fn free_pool(host: &HostFacts) -> Option<Advice> {
    let idle = |pool: &&super::HugePool| pool.free > 0;
    let pool = host.pages.pools.iter().find(idle)?;
    let bytes = Bytes(pool.page.0.saturating_mul(pool.free));
    let kib = pool.page.0 >> 10;
    let kept = pool.total - pool.free;
    Some(Advice::new(
        format!(
            "{bytes} more memory: a pool of {} pages holds it, which Margay does not use",
            pool.page
        ),
        format!("echo {kept} | sudo tee /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"),
    ))
}

fn nx_huge_pages(host: &HostFacts) -> Option<Advice> {
    let on = super::read_line("/sys/module/kvm/parameters/nx_huge_pages")?;
    if !host.verdict.protected.available || on != "Y" {
        return None;
    }
    Some(
        Advice::new(
            "2 MiB pages for programs' text (KVM splits executable ones)",
            "echo off | sudo tee /sys/module/kvm/parameters/nx_huge_pages",
        )
        .note("only where you trust every guest: it is a defence against iTLB multihit (CVE-2018-12207)"),
    )
}

#[cfg(test)]
mod tests {
    use super::{Advice, advise, auto_core};
    use crate::host::{CoreFacts, HostFacts, HugePool, KvmFacts, MemoryFacts, PageFacts, Verdict};
    use crate::units::{Bytes, CoreId, CoreSet};

    /// A host where there is nothing to improve.
    fn perfect() -> HostFacts {
        let cores = CoreSet::from([0, 1, 2, 3]);
        HostFacts {
            kernel: "6.1".to_owned(),
            cores: CoreFacts {
                online: cores.clone(),
                usable: cores,
                isolated: CoreSet::from([3]),
                nohz_full: Some(CoreSet::from([3])),
                ..CoreFacts::default()
            },
            memory: MemoryFacts { total: Bytes::gib(8), ..MemoryFacts::default() },
            pages: PageFacts { collapse: true, ..PageFacts::default() },
            kvm: KvmFacts::default(),
            verdict: Verdict::default(),
            advice: Vec::new(),
        }
    }

    #[test]
    fn a_perfect_host_gets_no_advice() {
        assert_eq!(advise(&perfect()), []);
    }

    #[test]
    fn each_shortcoming_has_its_command() {
        let has = |host: &HostFacts, text: &str| {
            let advice = advise(host);
            assert_eq!(advice.len(), 1, "{advice:?}");
            assert!(advice[0].command.contains(text), "{advice:?}");
        };
        let mut host = perfect();
        host.cores.isolated = CoreSet::default();
        has(&host, "isolcpus=domain,managed_irq,3");
        host.cores.nohz_full = Some(CoreSet::default());
        has(&host, "isolcpus=domain,managed_irq,3 nohz_full=3 rcu_nocbs=3");
        let mut host = perfect();
        host.cores.governors = vec!["performance".to_owned(), "powersave".to_owned()];
        has(&host, "scaling_governor");
        let mut host = perfect();
        host.cores.smt_siblings = vec![CoreSet::from([1, 3])];
        has(&host, "echo 0 | sudo tee /sys/devices/system/cpu/cpu1/online");
        let mut host = perfect();
        host.memory.lock_limit = Some(Bytes::mib(8));
        has(&host, "memlock unlimited");
        let mut host = perfect();
        host.pages.collapse_error = Some("too old".to_owned());
        has(&host, "compact_memory");
        let mut host = perfect();
        host.pages.pools = vec![HugePool { page: Bytes::mib(2), total: 10, free: 7 }];
        has(&host, "echo 3 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
        let mut host = perfect();
        host.kvm.remedy = Some(Advice::new("load KVM", "sudo modprobe kvm_amd"));
        has(&host, "sudo modprobe kvm_amd");
    }

    #[test]
    fn an_isolated_core_is_preferred() {
        let usable = CoreSet::from([0, 1, 2, 3]);
        assert_eq!(auto_core(&usable, &CoreSet::from([1, 2, 9])), Some(CoreId(2)));
        assert_eq!(auto_core(&usable, &CoreSet::default()), Some(CoreId(3)));
        assert_eq!(auto_core(&CoreSet::default(), &usable), None);
    }
}
