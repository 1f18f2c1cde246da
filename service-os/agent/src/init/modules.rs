//! Drivers: those that the initramfs brings, in the order in which it lists them.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::console::say;

const FOLDER: &str = "/lib/modules";
/// One file name in each line, a module after those it needs.
const ORDER: &str = "order";

/// Loads them all. A driver without its device, or built into the kernel, is not missed; what cannot do without one says so.
pub fn load_all() {
    let folder = Path::new(FOLDER);
    let Ok(order) = fs::read_to_string(folder.join(ORDER)) else {
        return say("the initramfs lists no modules");
    };
    for name in order.lines() {
        let loaded =
            File::open(folder.join(name)).map_err(|error| error.to_string()).and_then(|module| {
                match finit_module(module, c"", ModuleInitFlags::empty()) {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(errno.to_string()),
                }
            });
        if let Err(error) = loaded {
            say(&format!("cannot load {name}: {error}"));
        }
    }
}
