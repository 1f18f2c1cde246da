//! The page of `margay host`, for people.

use std::fmt::Write as _;

use crate::host::probe::{Behaviour, Engine};
use crate::host::{Advice, HostFacts, Offer};
use crate::text::{duration, wrap};
use crate::units::CoreSet;

/// Column of the values.
const VALUE: usize = 16;

/// Draws the page.
pub fn render(host: &HostFacts) -> String {
    let mut page = Page::default();
    page.line("Host", &format!("Linux {}", host.kernel));
    render_cores(&mut page, host);
    render_memory(&mut page, host);
    render_kvm(&mut page, host);
    render_verdict(&mut page, host);
    render_advice(&mut page, &host.advice);
    page.0
}

/// A page under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A headed section's first line.
    fn section(&mut self, head: &str, text: &str) {
        self.0.push('\n');
        self.line(head, text);
    }

    /// A line with a label.
    fn line(&mut self, label: &str, text: &str) {
        let text = wrap(text, VALUE);
        let line = format!("{label:VALUE$}{text}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// A line of detail.
    fn detail(&mut self, label: &str, text: &str) {
        self.line(&format!("  {label}"), text);
    }
}

fn render_cores(page: &mut Page, host: &HostFacts) {
    let cores = &host.cores;
    page.section("Cores", &format!("{} online: {}", cores.online.len(), cores.online));
    page.detail("model", &cores.model);
    if cores.usable != cores.online {
        page.detail("usable", &format!("{} by affinity and cpuset", cores.usable));
    }
    page.detail("isolated", &cores.isolated.to_string());
    page.detail(
        "tickless",
        &match &cores.nohz_full {
            Some(set) => set.to_string(),
            None => "none; this kernel is built without nohz_full".to_owned(),
        },
    );
    page.detail(
        "SMT",
        &match cores.smt_siblings.as_slice() {
            [] => "no core shares a physical core with another".to_owned(),
            groups => groups.iter().map(CoreSet::to_string).collect::<Vec<_>>().join("  "),
        },
    );
    for node in &cores.numa {
        let text = format!("cores {}, {}", node.cores, node.memory);
        page.detail(&format!("node {}", node.id), &text);
    }
    if !cores.governors.is_empty() {
        page.detail("governor", &cores.governors.join(", "));
    }
}

fn render_memory(page: &mut Page, host: &HostFacts) {
    let (memory, pages) = (&host.memory, &host.pages);
    page.section("Memory", &format!("{}, {} available", memory.total, memory.available));
    if let Some(left) = memory.cgroup_left {
        page.detail("cgroup", &format!("allows {left} more"));
    }
    page.detail("may lock", &memory.lock_limit.map_or("all".to_owned(), |limit| limit.to_string()));
    page.detail(
        "2 MiB pages",
        &match &pages.collapse_error {
            None => "yes, on demand (MADV_COLLAPSE of a memfd: tried)".to_owned(),
            Some(error) => format!("no: {error}"),
        },
    );
    let setting = |value: &Option<String>| value.clone().unwrap_or("not in this kernel".to_owned());
    let (enabled, shmem) = (setting(&pages.thp_enabled), setting(&pages.thp_shmem_enabled));
    page.detail("THP", &format!("enabled: {enabled}; shmem_enabled: {shmem} (neither matters)"));
    for pool in pages.pools.iter().filter(|pool| pool.total > 0) {
        let text = format!("{} pages of {}, {} free; not used", pool.total, pool.page, pool.free);
        page.detail("hugetlb", &text);
    }
}

fn render_kvm(page: &mut Page, host: &HostFacts) {
    let kvm = &host.kvm;
    let modules = kvm.modules.join(", ");
    page.section(
        "KVM",
        &match (kvm.usable, kvm.api_version) {
            (true, Some(version)) if modules.is_empty() => format!("usable, API version {version}"),
            (true, Some(version)) => format!("usable, API version {version}, module {modules}"),
            _ => "not usable".to_owned(),
        },
    );
    if let Some(error) = &kvm.error {
        page.detail("because", error);
    }
    let lacks: Vec<_> = kvm.capabilities.iter().filter(|c| !c.present).map(|c| c.name).collect();
    match (kvm.capabilities.len(), lacks.as_slice()) {
        (0, _) => {}
        (count, []) => page.detail("capabilities", &format!("all {count} that are needed")),
        (_, lacks) => page.detail("lacks", &lacks.join(", ")),
    }
    if let Some(behaviour) = &kvm.behaviour {
        render_behaviour(page, behaviour);
    }
}

fn render_behaviour(page: &mut Page, b: &Behaviour) {
    let engine = match b.cpl0.engine {
        Engine::Hardware => "hardware virtualization",
        Engine::Emulated => "emulated in software",
    };
    let native = |native| if native { "native" } else { "not native" };
    let per = |ns| format!("{} an instruction", duration(ns));
    page.detail("CPL 0", &format!("{engine}, {}", per(b.cpl0.ns_per_instruction)));
    page.detail("CPL 3", &format!("{}, {}", native(b.cpl3_native), per(b.cpl3_ns_per_instruction)));
    page.detail(
        "syscall",
        match b.cpl0.syscall_enters {
            true => "enters CPL 0",
            false => "does not enter CPL 0",
        },
    );
    page.detail("rdtsc", &format!("{} at CPL 3, {}", native(b.rdtsc_native), duration(b.rdtsc_ns)));
    page.detail(
        "exit (out)",
        &format!(
            "{} from CPL 0, {} from CPL 3",
            duration(b.exit_cpl0_ns),
            duration(b.exit_cpl3_ns)
        ),
    );
}

fn render_verdict(page: &mut Page, host: &HostFacts) {
    let verdict = &host.verdict;
    page.section("What follows", "");
    let mut offer = |what: &str, name: &'static str, offer: &Offer| {
        let word = if offer.available { "yes" } else { "no" };
        let auto =
            if verdict.auto_isolation == Some(name) { " (and what \"auto\" picks)" } else { "" };
        let lead = format!("  {what:11} {name:11} {word:5}");
        let text = wrap(&format!("{}{auto}", offer.reason), lead.len());
        // Writing to a String cannot fail.
        let _ = writeln!(page.0, "{lead}{text}");
    };
    offer("isolation", "fused", &verdict.fused);
    offer("isolation", "protected", &verdict.protected);
    offer("service OS", "host", &verdict.service_host);
    offer("service OS", "vm", &verdict.service_vm);
}

fn render_advice(page: &mut Page, advice: &[Advice]) {
    if advice.is_empty() {
        page.section("To get more", "nothing: this host is set up as well as it can be");
        return;
    }
    page.section("To get more", "");
    for (i, advice) in advice.iter().enumerate() {
        let lead = format!("  {}. ", i + 1);
        let gain = wrap(&advice.gain, lead.len());
        // Commands are not wrapped: they are to be copied.
        let _ = writeln!(page.0, "{lead}{gain}\n       $ {}", advice.command);
        if let Some(note) = &advice.note {
            let _ = writeln!(page.0, "     ({})", wrap(note, 6));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::host::HostFacts;
    use crate::text::WIDTH;

    #[test]
    fn the_page_of_this_host_has_its_sections_and_fits() {
        let page = render(&HostFacts::collect());
        for section in ["Host", "Cores", "Memory", "KVM", "What follows", "To get more"] {
            assert!(page.lines().any(|line| line.starts_with(section)), "{section} in\n{page}");
        }
        let long = |line: &&str| line.chars().count() > WIDTH && !line.contains("$ ");
        assert_eq!(page.lines().find(long), None);
    }
}
