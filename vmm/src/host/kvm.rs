//! The KVM behind `/dev/kvm`: whether it can be used at all, and with what.

use std::fs;
use std::os::unix::fs::MetadataExt;

use kvm_ioctls::{Cap, Kvm};
use serde::Serialize;

use crate::host::probe::{self, Behaviour};
use crate::host::{Advice, CoreFacts};

/// The only API version that Linux has had since 2.6.22; the kernel's documentation says to refuse any other.
const API_VERSION: i32 = 12;

/// What Margay needs of KVM, with the kernel's names (`KVM_CAP_` left out).
const NEEDED: [(&str, Cap); 8] = [
    ("USER_MEMORY", Cap::UserMemory),
    ("EXT_CPUID", Cap::ExtCpuid),
    ("XCRS", Cap::Xcrs),
    ("IRQCHIP", Cap::Irqchip),
    ("IRQFD", Cap::Irqfd),
    ("IOEVENTFD", Cap::Ioeventfd),
    ("SIGNAL_MSI", Cap::SignalMsi),
    ("IMMEDIATE_EXIT", Cap::ImmediateExit),
];

/// Why KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no `/dev/kvm`.
    #[error("there is no /dev/kvm")]
    Missing,
    /// The user may not open it.
    #[error("no permission to open /dev/kvm")]
    NoPermission,
    /// It cannot be opened for another reason.
    #[error("cannot open /dev/kvm: {0}")]
    Open(#[source] kvm_ioctls::Error),
    /// Not the API that this program is written for.
    #[error("/dev/kvm speaks API version {0}, but version {API_VERSION} is needed")]
    ApiVersion(i32),
    /// Something that Margay needs is not there.
    #[error("this KVM lacks {}", .0.join(", "))]
    Lacks(Vec<&'static str>),
}

impl KvmError {
    /// What the user can do.
    pub fn remedy(&self) -> Advice {
        match self {
            KvmError::Missing => missing_remedy(&CoreFacts::collect()),
            KvmError::NoPermission => permission_remedy(device_group().as_deref()),
            KvmError::Open(_) => {
                Advice::new("see what the kernel says about it", "sudo dmesg | grep -i kvm")
            }
            KvmError::ApiVersion(_) | KvmError::Lacks(_) => Advice::new(
                "a newer Linux; 6.1 or later has all that is needed",
                "sudo apt-get install linux-image-amd64",
            )
            .note("and reboot"),
        }
    }

    /// The remedy in one line.
    pub fn hint(&self) -> String {
        let Advice { gain, command, note } = self.remedy();
        format!("{gain}: {command}{}", note.map_or(String::new(), |note| format!(" ({note})")))
    }
}

/// Says how to get a `/dev/kvm` on this processor.
fn missing_remedy(cores: &CoreFacts) -> Advice {
    let module = cores.kvm_module;
    match (&cores.virtualization, cores.virtual_machine) {
        (Some(_), _) => Advice::new("load KVM", format!("sudo modprobe {module}"))
            .note("in a container, pass the device in: --device /dev/kvm"),
        (None, true) => {
            Advice::new("nested virtualization", format!("sudo modprobe {module} nested=1"))
                .note("on the machine outside; then start this virtual machine with its CPU model")
        }
        (None, false) => Advice::new("VT-x or AMD-V", "sudo systemctl reboot --firmware-setup")
            .note("and switch it on there"),
    }
}

/// Says how to get the right to open it, where the device's `group` has that right or where no group has.
fn permission_remedy(group: Option<&str>) -> Advice {
    match group {
        Some(group) => {
            Advice::new("join the device's group", format!("sudo usermod -aG {group} $USER"))
                .note("then log in again")
        }
        None => Advice::new("the right to open the device", "sudo setfacl -m u:$USER:rw /dev/kvm")
            .note("until the next reboot"),
    }
}

/// The group that may open `/dev/kvm`; `None` where none may, or it has no name.
fn device_group() -> Option<String> {
    const GROUP_READ_WRITE: u32 = 0o060;
    let metadata = fs::metadata("/dev/kvm").ok()?;
    if metadata.mode() & GROUP_READ_WRITE != GROUP_READ_WRITE {
        return None;
    }
    group_name(&fs::read_to_string("/etc/group").ok()?, metadata.gid())
}

/// The name of a group in `group(5)`: "name:password:gid:members".
fn group_name(groups: &str, gid: u32) -> Option<String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    };
    groups.lines().find_map(entry)
}

/// A capability that Margay needs.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// The kernel's name, without `KVM_CAP_`.
    pub name: &'static str,
    /// Whether this KVM has it.
    pub present: bool,
}

/// The KVM behind `/dev/kvm`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KvmFacts {
    /// Whether Margay can use it.
    pub usable: bool,
    /// Why not, or why its behaviour could not be probed.
    pub error: Option<String>,
    /// What to do about it.
    pub remedy: Option<Advice>,
    /// Its API version.
    pub api_version: Option<i32>,
    /// Kernel modules with the hardware's part of KVM. A name proves nothing: see `behaviour`.
    pub modules: Vec<String>,
    /// The needed capabilities.
    pub capabilities: Vec<Capability>,
    /// What it really does.
    pub behaviour: Option<Behaviour>,
}

impl KvmFacts {
    /// Opens and probes it.
    pub fn collect() -> KvmFacts {
        let mut facts = KvmFacts { modules: collect_modules(), ..KvmFacts::default() };
        if let Ok(kvm) = Kvm::new() {
            facts.api_version = Some(kvm.get_api_version());
            let capability = |(name, cap)| Capability { name, present: kvm.check_extension(cap) };
            facts.capabilities = NEEDED.map(capability).into();
        }
        match open_kvm() {
            Err(error) => {
                (facts.error, facts.remedy) = (Some(error.to_string()), Some(error.remedy()));
            }
            Ok(kvm) => match probe::probe_all(kvm) {
                Ok(behaviour) => (facts.usable, facts.behaviour) = (true, Some(behaviour)),
                Err(error) => facts.error = Some(error.to_string()),
            },
        }
        facts
    }
}

/// Opens `/dev/kvm` and makes sure that it has what Margay needs.
///
/// # Errors
/// [`KvmError`], each with its [`KvmError::hint`].
pub fn open_kvm() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => KvmError::Missing,
        libc::EACCES | libc::EPERM => KvmError::NoPermission,
        _ => KvmError::Open(error),
    })?;
    match kvm.get_api_version() {
        API_VERSION => {}
        version => return Err(KvmError::ApiVersion(version)),
    }
    let lacks: Vec<_> = NEEDED
        .iter()
        .filter(|(_, cap)| !kvm.check_extension(*cap))
        .map(|(name, _)| *name)
        .collect();
    if lacks.is_empty() { Ok(kvm) } else { Err(KvmError::Lacks(lacks)) }
}

/// Loaded or built-in modules `kvm_*`.
fn collect_modules() -> Vec<String> {
    let entries = fs::read_dir("/sys/module").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut modules: Vec<String> = names.filter(|name| name.starts_with("kvm_")).collect();
    modules.sort();
    modules
}

#[cfg(test)]
mod tests {
    use super::{group_name, missing_remedy, permission_remedy};
    use crate::host::CoreFacts;

    #[test]
    fn the_remedy_suits_the_processor() {
        let mut cores = CoreFacts { kvm_module: "kvm_amd", ..CoreFacts::default() };
        assert!(missing_remedy(&cores).command.contains("--firmware-setup"));
        cores.virtual_machine = true;
        assert_eq!(missing_remedy(&cores).command, "sudo modprobe kvm_amd nested=1");
        cores.virtualization = Some("svm".to_owned());
        assert_eq!(missing_remedy(&cores).command, "sudo modprobe kvm_amd");
    }

    #[test]
    fn the_remedy_suits_the_device() {
        let groups = "root:x:0:\nkvm:x:104:ann,bob\nbroken\n";
        let group = group_name(groups, 104);
        assert_eq!(permission_remedy(group.as_deref()).command, "sudo usermod -aG kvm $USER");
        assert_eq!(group_name(groups, 7), None);
        assert!(permission_remedy(None).command.contains("setfacl"));
    }
}
