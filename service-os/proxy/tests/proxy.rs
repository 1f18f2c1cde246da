//! The proxy as a process, through its channel.

#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use libc::{
    EBADF, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSYS, EPIPE, SYS_close, SYS_close_range, SYS_dup2,
    SYS_getppid, SYS_mmap, SYS_newfstatat, SYS_open, SYS_openat, SYS_pipe2, SYS_pread64, SYS_read,
    SYS_readlink, SYS_write,
};
use margay_abi::calls::private;
use margay_abi::maplog::MapOp;
use margay_abi::rewrite::PlanHeader;

use common::{DATA, DATA_GPA, FDS, Lwk, PROGRAM};

const SPIN_US: u32 = 200;

fn data(lwk: &Lwk, text: &str) -> u64 {
    lwk.put(0, text.as_bytes());
    lwk.put(text.len(), &[0]);
    DATA
}

#[test]
fn calls_are_made_as_this_process() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    for _ in 0..1000 {
        assert_eq!(lwk.call(SYS_getppid, &[]), i64::from(std::process::id()));
    }
    let text = data(&lwk, "Linux wrote this");
    assert_eq!(lwk.call(SYS_write, &[1, text, 16]), 16);
    lwk.submit(private::EXIT.into(), &[42]);
    let (status, stderr) = lwk.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(42), ""));
    assert_eq!(lwk.stdout(), "Linux wrote this");
}

#[test]
fn a_file_is_read_into_the_programs_memory() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    let path = data(&lwk, "/proc/self/status");
    let fd = lwk.call(SYS_open, &[path, libc::O_RDONLY as u64, 0]) as u64;
    assert_eq!(fd, 3, "the lowest free descriptor, as the program expects");
    let len = lwk.call(SYS_read, &[fd, DATA + 4096, 1 << 16]);
    let text = String::from_utf8(lwk.get(4096, len as usize)).unwrap();
    assert!(text.contains(&format!("Pid:\t{}\n", lwk.pid())), "{text}");
    assert_eq!(lwk.call(SYS_close, &[fd]), 0);
    // The program file, as the LWK loads it.
    assert_eq!(lwk.call(SYS_pread64, &[FDS + 3, DATA, 4, 0]), 4);
    assert_eq!(lwk.get(0, 4), b"\x7fELF");
    assert_eq!(lwk.call(SYS_close, &[FDS + 3]), 0);
}

#[test]
fn protections_hold_for_linux_too() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.log(MapOp::Map, DATA, 1, DATA_GPA, 1);
    lwk.log(MapOp::Map, DATA + 4096, 1, DATA_GPA + 4096, 3);
    let mut random = |addr: u64| lwk.call(libc::SYS_getrandom, &[addr, 8, 0]);
    assert_eq!(random(DATA), -i64::from(EFAULT), "read-only");
    assert_eq!(random(DATA + 4096), 8);
    assert_eq!(random(DATA + 8192), -i64::from(EFAULT), "not mapped");
    lwk.log(MapOp::Protect, DATA, 2, 0, 3);
    lwk.log(MapOp::Unmap, DATA + 4096, 1, 0, 0);
    let mut random = |addr: u64| lwk.call(libc::SYS_getrandom, &[addr, 8, 0]);
    assert_eq!(random(DATA), 8);
    assert_eq!(random(DATA + 4096), -i64::from(EFAULT));
}

#[test]
fn what_is_the_proxys_own_is_out_of_reach() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    for fd in [FDS, FDS + 1, FDS + 2] {
        assert_eq!(lwk.call(SYS_close, &[fd]), -i64::from(EBADF));
        assert_eq!(lwk.call(SYS_dup2, &[1, fd]), -i64::from(EBADF));
    }
    assert_eq!(lwk.call(SYS_close_range, &[3, u64::from(u32::MAX), 0]), 0);
    assert_eq!(lwk.call(SYS_close, &[FDS + 3]), -i64::from(EBADF), "closed with the range");
    assert_eq!(lwk.call(SYS_read, &[0, 0x7fff_0000_0000, 8]), -i64::from(EFAULT));
    assert_eq!(lwk.call(SYS_mmap, &[0, 4096, 3, 34, u64::MAX, 0]), -i64::from(ENOSYS));
    assert_eq!(lwk.call(libc::SYS_exit_group, &[0]), -i64::from(ENOSYS));
    assert_eq!(lwk.call(0x7fff_ffff, &[]), -i64::from(ENOSYS));
    assert_eq!(lwk.call(private::PROBE_EXIT.into(), &[]), -i64::from(ENOSYS));
    assert!(lwk.call(SYS_getppid, &[]) > 0, "and it still serves");
}

#[test]
fn proc_self_exe_is_the_program() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    let program = std::fs::canonicalize(PROGRAM).unwrap();
    let name = program.to_str().unwrap().as_bytes();
    let own = format!("/proc/{}/exe", lwk.pid());
    for link in ["/proc/self/exe", "/proc/thread-self/exe", &own] {
        let path = data(&lwk, link);
        let len = lwk.call(SYS_readlink, &[path, DATA + 4096, 100]);
        assert_eq!(lwk.get(4096, len as usize), name);
        assert_eq!(lwk.call(SYS_readlink, &[path, DATA + 4096, 3]), 3);
        assert_eq!(lwk.call(SYS_readlink, &[path, DATA + 4096, 0]), -i64::from(EINVAL));
        assert_eq!(lwk.call(SYS_readlink, &[path, 0x8000, 100]), -i64::from(EFAULT));
        let cwd = libc::AT_FDCWD as u64;
        assert_eq!(lwk.call(SYS_newfstatat, &[cwd, path, DATA + 4096, 0]), 0);
        let inode = u64::from_ne_bytes(lwk.get(4096 + 8, 8).try_into().unwrap());
        assert_eq!(inode, std::fs::metadata(&program).unwrap().ino());
        let fd = lwk.call(SYS_openat, &[cwd, path, 0, 0]);
        assert!(fd >= 3);
        assert_eq!(lwk.call(SYS_close, &[fd as u64]), 0);
    }
    let path = data(&lwk, "/proc/self/exe/");
    assert!(lwk.call(SYS_readlink, &[path, DATA + 4096, 100]) < 0, "another path");
    let end_of_memory = DATA + (1 << 20) - 5;
    lwk.put((1 << 20) - 5, b"/proc");
    assert_eq!(lwk.call(SYS_open, &[end_of_memory, 0, 0]), -i64::from(EFAULT), "no NUL");
    assert_eq!(lwk.call(SYS_open, &[0, 0, 0]), -i64::from(EFAULT));
    let path = data(&lwk, "/no/such/file");
    assert_eq!(lwk.call(SYS_open, &[path, 0, 0]), -i64::from(ENOENT));
}

#[test]
fn sigpipe_travels_with_the_reply() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    assert_eq!(lwk.call(SYS_pipe2, &[DATA, 0]), 0);
    let ends = lwk.get(0, 8);
    let end = |i: usize| u64::from(u32::from_ne_bytes(ends[4 * i..][..4].try_into().unwrap()));
    assert_eq!(lwk.call(SYS_close, &[end(0)]), 0);
    for _ in 0..2 {
        lwk.submit(SYS_write, &[end(1), DATA, 1]);
        let reply = lwk.reply();
        assert_eq!(reply.ret as i64, -i64::from(EPIPE));
        assert_eq!(reply.signals, 1 << (libc::SIGPIPE - 1));
    }
    lwk.submit(SYS_getppid, &[]);
    assert_eq!(lwk.reply().signals, 0);
}

#[test]
fn sigxfsz_travels_with_the_reply() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    let name = data(&lwk, "file");
    let fd = lwk.call(libc::SYS_memfd_create, &[name, 0]) as u64;
    lwk.put(0, &[0; 16]);
    let limit = u64::from(libc::RLIMIT_FSIZE);
    assert_eq!(lwk.call(libc::SYS_prlimit64, &[0, limit, DATA, 0]), 0);
    lwk.submit(SYS_write, &[fd, DATA, 1]);
    let reply = lwk.reply();
    assert_eq!(reply.ret as i64, -i64::from(libc::EFBIG));
    assert_eq!(reply.signals, 1 << (libc::SIGXFSZ - 1));
}

#[test]
fn the_program_ends_as_it_wants() {
    for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGPIPE, libc::SIGTERM, libc::SIGKILL] {
        let mut lwk = Lwk::start(SPIN_US);
        lwk.submit(private::DIE.into(), &[signal as u64]);
        let (status, _) = lwk.end();
        assert_eq!(status.signal(), Some(signal));
        assert!(!status.core_dumped());
    }
    let mut lwk = Lwk::start(SPIN_US);
    lwk.submit(private::EXIT.into(), &[0x1ff]);
    assert_eq!(lwk.end().0.code(), Some(255));
}

#[test]
fn an_ignored_signal_is_ignored_until_it_is_not() {
    let kill = |lwk: &Lwk| {
        // SAFETY: signals the child of this test.
        assert_eq!(unsafe { libc::kill(lwk.pid() as i32, libc::SIGTERM) }, 0);
    };
    let mut lwk = Lwk::start(SPIN_US);
    let set = i64::from(private::SET_IGNORED);
    let term = libc::SIGTERM as u64;
    assert_eq!(lwk.call(set, &[term, 1]), 0);
    kill(&lwk);
    assert!(lwk.call(SYS_getppid, &[]) > 0);
    assert_eq!(lwk.call(set, &[libc::SIGKILL as u64, 1]), -i64::from(EINVAL));
    assert_eq!(lwk.call(set, &[65, 1]), -i64::from(EINVAL));
    assert_eq!(lwk.call(set, &[term, 0]), 0);
    kill(&lwk);
    assert_eq!(lwk.end().0.signal(), Some(libc::SIGTERM));
}

#[test]
fn both_sides_sleep_and_are_woken() {
    let mut lwk = Lwk::start(0);
    lwk.map_data();
    for _ in 0..50 {
        lwk.await_sleep();
        assert!(lwk.submit(SYS_getppid, &[]), "a sleeper must be rung");
        assert!(lwk.reply().ret > 0);
    }
    // A call that blocks: the driver halts, and the wake-up comes with the reply.
    assert_eq!(lwk.call(SYS_pipe2, &[DATA, 0]), 0);
    let fds = [DATA, 1, 100];
    lwk.put(0, &[0, 0, 0, 0, 0, 0, 0, 0]);
    lwk.submit(libc::SYS_poll, &[fds[0], 0, 50]);
    assert!(!lwk.driver.arm());
    std::io::Read::read_exact(&mut lwk.wake, &mut [0; 8]).unwrap();
    assert_eq!(lwk.driver.poll().unwrap().ret, 0);
    // And none comes to a driver that polls.
    assert_eq!(lwk.call(libc::SYS_poll, &[fds[0], 0, 5]), 0);
    std::thread::sleep(Duration::from_millis(5));
    let mut poll = libc::pollfd {
        fd: std::os::fd::AsRawFd::as_raw_fd(&lwk.wake),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd.
    assert_eq!(unsafe { libc::poll(&mut poll, 1, 0) }, 0);
}

#[test]
fn a_broken_ring_ends_the_proxy_with_one_line() {
    type Break = fn(&Lwk);
    let breaks: [(Break, &str); 4] = [
        (|lwk| lwk.page.request.avail.idx.store(7, Relaxed), "available index is 7"),
        (|lwk| lwk.page.request.avail.ring[0].store(1, Relaxed), "descriptor 1"),
        (|lwk| lwk.page.descriptors.table[0].addr.store(0, Relaxed), "indirect-table"),
        (|lwk| lwk.page.descriptors.indirect[1].len.store(9, Relaxed), "reply descriptor"),
    ];
    for (break_it, reason) in breaks {
        let mut lwk = Lwk::start(SPIN_US);
        assert!(lwk.call(SYS_getppid, &[]) > 0);
        break_it(&lwk);
        lwk.submit(SYS_getppid, &[]);
        break_it(&lwk);
        std::io::Write::write_all(&mut lwk.kick, &1_u64.to_ne_bytes()).unwrap();
        ends_with(&mut lwk, &["call channel is broken", reason]);
    }
}

#[test]
fn a_broken_map_log_ends_the_proxy_with_one_line() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.log(MapOp::Map, DATA, 1, 1 << 40, 3);
    lwk.submit(private::SYNC.into(), &[]);
    ends_with(&mut lwk, &["map log", "record 0", "0x10000000000"]);
    let mut lwk = Lwk::start(SPIN_US);
    lwk.submit(private::DIE.into(), &[65]);
    ends_with(&mut lwk, &["65"]);
}

fn ends_with(lwk: &mut Lwk, parts: &[&str]) {
    let (status, stderr) = lwk.end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert!(stderr.starts_with("margay-proxy: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
}

#[test]
fn a_bad_start_is_explained() {
    let mut lwk = Lwk::start_with(SPIN_US, |command| {
        command.args(["--program", "/no/such/program"]);
    });
    ends_with(&mut lwk, &["/no/such/program"]);
    let mut lwk = Lwk::start_with(SPIN_US, |command| {
        command.args(["--fds", "900"]);
    });
    ends_with(&mut lwk, &["descriptor 900", "guest memory"]);
    let mut lwk = Lwk::start_with(SPIN_US, |command| {
        command.arg("--wrong");
    });
    ends_with(&mut lwk, &["--wrong"]);
}

#[test]
fn a_plan_is_written_into_the_programs_memory() {
    let mut lwk = Lwk::start(SPIN_US);
    lwk.map_data();
    // mov eax, 39; syscall; ret
    lwk.put(0, &[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]);
    let plan = i64::from(private::PLAN_REWRITE);
    let (stubs, out) = (DATA + (2 << 20), DATA + 4096);
    let len = lwk.call(plan, &[DATA, 4096, stubs, 4096, out, 4096]);
    assert!(len >= size_of::<PlanHeader>() as i64, "{len}");
    let sites = u32::from_ne_bytes(lwk.get(4096 + 8, 4).try_into().unwrap());
    assert_eq!(sites, 1);
    let mut fails = |args: [u64; 6], errno: i32| {
        assert_eq!(lwk.call(plan, &args), -i64::from(errno), "{args:x?}");
    };
    fails([DATA, 4096, stubs, 4096, out, 8], ENOMEM);
    fails([DATA, 4 << 20, stubs + (4 << 20), 4096, out, 4096], EFAULT);
    fails([DATA, 4096, stubs, 4096, 0x8000, 4096], EFAULT);
    fails([DATA, 4096, DATA + (2 << 30), 4096, out, 4096], EINVAL);
    fails([u64::MAX, 4096, stubs, 4096, out, 4096], EINVAL);
    fails([DATA, u64::MAX, stubs, 4096, out, 4096], EINVAL);
}
