//! Finding things as another user: root would find, and read, what that user may not.

use std::thread;

use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};

/// Does `find` with the file-system rights of `user` (uid, gid), where the agent may take them on.
pub fn as_user<T: Send>((uid, gid): (u32, u32), find: impl FnOnce() -> T + Send) -> T {
    if !geteuid().is_root() {
        return find();
    }
    // Linux keeps these ids for each thread (setfsuid(2)), so the agent's others stay root; and with them this one gives up root's
    // right to pass over permissions (capabilities(7)).
    let found = thread::scope(|scope| {
        scope
            .spawn(|| {
                setfsgid(Gid::from_raw(gid));
                setfsuid(Uid::from_raw(uid));
                find()
            })
            .join()
    });
    found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::as_user;

    #[test]
    fn what_a_user_may_not_read_is_not_read_for_him() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root can be somebody else");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(as_user((0, 0), || File::open(&secret).is_ok()));
        assert!(as_user((1000, 1000), || File::open(&secret).is_err()));
        assert!(File::open(&secret).is_ok(), "other threads are still root");
    }
}
