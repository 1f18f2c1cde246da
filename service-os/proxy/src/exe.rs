//! `/proc/self/exe` names the program, not the proxy.
//!
//! Programs find themselves by it (to read their own debug information, or files beside them). Linux would show them the
//! proxy, so a call on this one link is made on the program's path. The string is looked at before Linux
//! reads it; a program that changes it in between only fools itself.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use margay_abi::Errno;

use crate::guard::Admitted;
use crate::mirror::Mirror;

/// The program's executable.
#[derive(Debug)]
pub struct Exe {
    /// Its path, absolute and without symbolic links, as Linux would show it.
    path: &'static CStr,
    /// The names of the link, each with its NUL.
    links: [CString; 3],
}

/// What a call may become.
pub enum Redirected {
    /// This call, still to be made.
    Call(Admitted),
    /// It is done, and this is its result.
    Done(u64),
}

/// How a call uses its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// Follows a symbolic link at the end of the path in this argument.
    Follow(usize),
    /// Reads the link in this argument; the next two are the buffer and its size.
    ReadLink(usize),
}

impl Exe {
    /// The program at `path`.
    ///
    /// # Errors
    /// There is nothing at `path`.
    pub fn new(path: &Path) -> io::Result<Exe> {
        let path = CString::new(path.canonicalize()?.as_os_str().as_bytes())?;
        let own = CString::new(format!("/proc/{}/exe", std::process::id()))?;
        let links = [c"/proc/self/exe".into(), c"/proc/thread-self/exe".into(), own];
        // Once in the life of the process.
        Ok(Exe { path: Box::leak(path.into_boxed_c_str()), links })
    }

    /// Turns a call on the link into one on the program.
    #[inline]
    pub fn redirect(&self, call: Admitted, mirror: &Mirror) -> Redirected {
        match use_of_path(&call) {
            Some(Use::Follow(arg)) if self.is_link(call.args()[arg], mirror) => {
                Redirected::Call(call.with_path(arg, self.path))
            }
            Some(Use::ReadLink(arg)) if self.is_link(call.args()[arg], mirror) => {
                Redirected::Done(self.read_link(call.args()[arg + 1], call.args()[arg + 2], mirror))
            }
            _ => Redirected::Call(call),
        }
    }

    fn is_link(&self, path: u64, mirror: &Mirror) -> bool {
        let mut name = [0; 32];
        let len = mirror.read_at(path, &mut name);
        self.links.iter().any(|link| name[..len].starts_with(link.as_bytes_with_nul()))
    }

    /// `readlink(2)`: the path without NUL, cut to the buffer.
    fn read_link(&self, buffer: u64, size: u64, mirror: &Mirror) -> u64 {
        // Linux takes the size for an `int`.
        let size = size as i32;
        if size <= 0 {
            return Errno::EINVAL.as_return();
        }
        let path = self.path.to_bytes();
        let path = &path[..path.len().min(size as usize)];
        if mirror.write_at(buffer, path) { path.len() as u64 } else { Errno::EFAULT.as_return() }
    }
}

#[inline]
fn use_of_path(call: &Admitted) -> Option<Use> {
    let args = call.args();
    let unless_nofollow = |path: usize, flags: usize| {
        (args[flags] as i32 & libc::AT_SYMLINK_NOFOLLOW == 0).then_some(Use::Follow(path))
    };
    match libc::c_long::from(call.nr() as i32) {
        libc::SYS_readlink => Some(Use::ReadLink(0)),
        libc::SYS_readlinkat => Some(Use::ReadLink(1)),
        libc::SYS_open | libc::SYS_stat | libc::SYS_access => Some(Use::Follow(0)),
        libc::SYS_openat | libc::SYS_openat2 | libc::SYS_faccessat => Some(Use::Follow(1)),
        libc::SYS_newfstatat | libc::SYS_faccessat2 => unless_nofollow(1, 3),
        libc::SYS_statx => unless_nofollow(1, 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use margay_abi::calls::lookup;

    use super::{Use, use_of_path};
    use crate::guard::{Reserved, admit};

    fn use_by(nr: i64, args: [u64; 6]) -> Option<Use> {
        use_of_path(&admit(Reserved::new(700, None), lookup(nr as u64).unwrap(), args).unwrap())
    }

    #[test]
    fn calls_that_do_not_follow_links_are_left_alone() {
        let nofollow = libc::AT_SYMLINK_NOFOLLOW as u64;
        assert_eq!(use_by(libc::SYS_newfstatat, [0; 6]), Some(Use::Follow(1)));
        assert_eq!(use_by(libc::SYS_newfstatat, [0, 0, 0, nofollow, 0, 0]), None);
        assert_eq!(use_by(libc::SYS_statx, [0, 0, nofollow, 0, 0, 0]), None);
        assert_eq!(use_by(libc::SYS_lstat, [0; 6]), None);
        assert_eq!(use_by(libc::SYS_read, [0; 6]), None);
    }
}
