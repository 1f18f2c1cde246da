//! Process 1 of the initramfs: brings Linux up just far enough to run programs.

mod disk;
mod modules;
mod mounts;

use std::fs;

use crate::console::say;
use crate::error::AgentError;

/// Whether there is nobody before us.
pub fn is_first_process() -> bool {
    std::process::id() == 1
}

/// File systems, drivers, the loopback interface, the root.
///
/// # Errors
/// What nothing works without. The rest is said.
pub fn bring_up() -> Result<(), AgentError> {
    mounts::mount_all()?;
    modules::load_all();
    // IFF_UP, and IFF_RUNNING as the kernel has it (netdevice(7)).
    if let Err(error) = fs::write("/sys/class/net/lo/flags", "0x49") {
        say(&format!("there is no loopback network: {error}"));
    }
    disk::take_root();
    // The name in a shell's prompt; without one it is "(none)".
    let _ = nix::unistd::sethostname("service");
    Ok(())
}
