//! What follows from the facts: which isolation modes and service kinds a node file can ask for here.

use serde::Serialize;

use crate::host::KvmFacts;
use crate::host::probe::{Cpl0, Engine};

/// What a node file can ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// `isolation = "fused"`.
    pub fused: Offer,
    /// `isolation = "protected"`.
    pub protected: Offer,
    /// What `isolation = "auto"` becomes; `None` where neither works.
    pub auto_isolation: Option<&'static str>,
    /// `kind = "host"`.
    pub service_host: Offer,
    /// `kind = "vm"`.
    pub service_vm: Offer,
}

/// Whether something can be had, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Offer {
    /// Whether.
    pub available: bool,
    /// Why.
    pub reason: String,
}

impl Offer {
    fn yes(reason: impl Into<String>) -> Offer {
        Offer { available: true, reason: reason.into() }
    }

    fn no(reason: impl Into<String>) -> Offer {
        Offer { available: false, reason: reason.into() }
    }
}

impl Verdict {
    /// Draws the conclusions.
    pub fn of(kvm: &KvmFacts) -> Verdict {
        let Some(behaviour) = kvm.behaviour.filter(|_| kvm.usable) else {
            let none = Offer::no("there is no usable KVM");
            return Verdict {
                fused: none.clone(),
                protected: none.clone(),
                auto_isolation: None,
                service_host: none.clone(),
                service_vm: none,
            };
        };
        let fused = match behaviour.cpl3_native {
            true => Offer::yes("CPL 3 runs natively"),
            false => Offer::no("CPL 3 does not run natively"),
        };
        let protected = behaviour.cpl0.suits_protected();
        Verdict {
            auto_isolation: match (protected, fused.available) {
                (true, _) => Some("protected"),
                (false, true) => Some("fused"),
                (false, false) => None,
            },
            service_host: match fused.available || protected {
                true => Offer::yes("this Linux serves the calls"),
                false => Offer::no("no LWK can run"),
            },
            service_vm: if protected {
                Offer::yes("a stock kernel can run in a VM")
            } else {
                Offer::no(format!(
                    "{}, and a stock kernel lives there",
                    why_not_protected(&behaviour.cpl0)
                ))
            },
            protected: match protected {
                true => Offer::yes("CPL 0 runs in hardware and syscall enters it"),
                false => Offer::no(why_not_protected(&behaviour.cpl0)),
            },
            fused,
        }
    }
}

/// Why an LWK at CPL 0 cannot work, with what was measured.
pub fn why_not_protected(cpl0: &Cpl0) -> String {
    let syscall = match cpl0.syscall_enters {
        true => "",
        false => ", and syscall does not enter it",
    };
    match cpl0.engine {
        Engine::Hardware => "syscall at CPL 3 does not enter CPL 0".to_owned(),
        Engine::Emulated => {
            let ns = cpl0.ns_per_instruction;
            format!("CPL 0 is emulated in software, {ns:.0} ns an instruction{syscall}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;
    use crate::host::KvmFacts;
    use crate::host::probe::{Behaviour, Cpl0, Engine};

    fn kvm(cpl0: Cpl0) -> KvmFacts {
        let behaviour = Behaviour {
            cpl0,
            cpl3_ns_per_instruction: 0.3,
            cpl3_native: true,
            rdtsc_ns: 10.0,
            rdtsc_native: true,
            exit_cpl0_ns: 1e3,
            exit_cpl3_ns: 1e3,
        };
        KvmFacts { usable: true, behaviour: Some(behaviour), ..KvmFacts::default() }
    }

    #[test]
    fn hardware_gives_protected_and_emulation_fused() {
        let hardware =
            Cpl0 { engine: Engine::Hardware, ns_per_instruction: 0.4, syscall_enters: true };
        let verdict = Verdict::of(&kvm(hardware));
        assert_eq!(verdict.auto_isolation, Some("protected"));
        assert!(verdict.fused.available && verdict.protected.available);

        let emulated =
            Cpl0 { engine: Engine::Emulated, ns_per_instruction: 1012.3, syscall_enters: false };
        let verdict = Verdict::of(&kvm(emulated));
        assert_eq!(verdict.auto_isolation, Some("fused"));
        assert_eq!(
            verdict.protected.reason,
            "CPL 0 is emulated in software, 1012 ns an instruction, and syscall does not enter it"
        );
        assert_eq!(Verdict::of(&KvmFacts::default()).auto_isolation, None);
    }
}
