//! An LWK without a guest: plays the other side of a proxy.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use margay_abi::channel::ChannelPage;
use margay_abi::layout::{CHANNELS, MAP_LOG, PAGE};
use margay_abi::maplog::{MapLog, MapOp, RECORDS};
use margay_channel::{Driver, Reply, Request};

/// First of the descriptors passed.
pub const FDS: u64 = 700;
/// Bytes of guest memory.
pub const MEMORY_BYTES: usize = 32 << 20;
/// Where the tests' data lies in guest memory.
pub const DATA_GPA: u64 = 4 << 20;
/// Where they show it.
pub const DATA: u64 = 0x10_0000_0000;
/// The program that the proxy stands for.
pub const PROGRAM: &str = "/bin/sh";

/// Longer than anything here takes, shorter than a tester's patience.
const PATIENCE: Duration = Duration::from_secs(20);

/// The LWK's side, and the proxy as a child.
pub struct Lwk {
    pub driver: Driver<'static>,
    pub page: &'static ChannelPage,
    pub kick: File,
    pub wake: File,
    memory: *mut u8,
    child: Child,
    seq: u32,
}

fn file(fd: RawFd) -> File {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor, given away here and nowhere else.
    unsafe { File::from_raw_fd(fd) }
}

fn eventfd() -> File {
    // SAFETY: no memory is involved.
    file(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// What the doorbell is made of.
#[derive(Clone, Copy)]
pub enum Doorbell {
    /// One eventfd each way, as on the host.
    Eventfds,
    /// One stream socket, as in a service VM.
    Socket,
}

impl Doorbell {
    /// The LWK's ends, kick and wake, and the proxy's.
    fn ends(self) -> (File, File, [File; 2]) {
        match self {
            Doorbell::Eventfds => {
                let (kick, wake) = (eventfd(), eventfd());
                let theirs = [&kick, &wake].map(|end| end.try_clone().unwrap());
                (kick, wake, theirs)
            }
            Doorbell::Socket => {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let file = |end: &UnixStream| File::from(OwnedFd::from(end.try_clone().unwrap()));
                (file(&ours), file(&ours), [file(&theirs), file(&theirs)])
            }
        }
    }
}

impl Lwk {
    /// Starts a proxy that polls for `spin_us` before it sleeps.
    pub fn start(spin_us: u32) -> Lwk {
        Self::start_with(spin_us, |_| {})
    }

    /// Starts a proxy whose command line, environment and stdio `prepare` changes.
    pub fn start_with(spin_us: u32, prepare: impl FnOnce(&mut Command)) -> Lwk {
        Self::start_on(spin_us, Doorbell::Eventfds, prepare)
    }

    /// As [`Lwk::start_with`], with a doorbell of either kind.
    pub fn start_on(spin_us: u32, doorbell: Doorbell, prepare: impl FnOnce(&mut Command)) -> Lwk {
        // SAFETY: the name is a live string.
        let guest = file(unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) });
        guest.set_len(MEMORY_BYTES as u64).unwrap();
        // SAFETY: a new mapping at an address of Linux's choice; it is never unmapped.
        let memory = unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let null = std::ptr::null_mut();
            libc::mmap(null, MEMORY_BYTES, prot, libc::MAP_SHARED, guest.as_raw_fd(), 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        let memory = memory.cast::<u8>();
        let (kick, wake, theirs) = doorbell.ends();
        let program = File::open(PROGRAM).unwrap();

        let mut command = Command::new(env!("CARGO_BIN_EXE_margay-proxy"));
        command.args(["--fds", &FDS.to_string(), "--spin-us", &spin_us.to_string()]);
        command.args(["--memory-bytes", &MEMORY_BYTES.to_string()]);
        command.args(["--program", PROGRAM]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let passed = [&guest, &theirs[0], &theirs[1], &program].map(AsRawFd::as_raw_fd);
        // SAFETY: the closure makes only async-signal-safe calls on its own array.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                for (i, &fd) in passed.iter().enumerate() {
                    if libc::dup2(fd, FDS as i32 + i as i32) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        prepare(&mut command);
        let child = command.spawn().unwrap();
        // SAFETY: inside the mapping, page-aligned, atomic, and never unmapped.
        let page = unsafe { &*memory.add(CHANNELS as usize).cast::<ChannelPage>() };
        Lwk { driver: Driver::new(page, CHANNELS), page, kick, wake, memory, child, seq: 0 }
    }

    /// The proxy's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Logs a change of the mappings.
    pub fn log(&mut self, op: MapOp, addr: u64, pages: u64, gpa: u64, prot: u32) {
        // SAFETY: inside the mapping, aligned, and atomic but for padding.
        let log = unsafe { &*self.memory.add(MAP_LOG as usize).cast::<MapLog>() };
        let record = &log.records[self.seq as usize % RECORDS];
        record.addr.store(addr, Relaxed);
        record.len.store(pages * PAGE, Relaxed);
        record.gpa.store(gpa, Relaxed);
        record.op.store(op as u32, Relaxed);
        record.prot.store(prot, Relaxed);
        self.seq += 1;
    }

    /// Shows a MiB of data, readable and writable, at [`DATA`].
    pub fn map_data(&mut self) {
        self.log(MapOp::Map, DATA, 256, DATA_GPA, 3);
    }

    /// Writes into the data.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= 1 << 20);
        // SAFETY: inside the mapping; the proxy reads it only during a call, and none is in flight.
        unsafe {
            let to = self.memory.add(DATA_GPA as usize + offset);
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Reads from the data.
    pub fn get(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset + len <= 1 << 20);
        // SAFETY: as for `put`.
        unsafe {
            std::slice::from_raw_parts(self.memory.add(DATA_GPA as usize + offset), len).to_vec()
        }
    }

    /// Makes a request and rings if the proxy sleeps. Returns whether it did.
    pub fn submit(&mut self, nr: i64, args: &[u64]) -> bool {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        self.driver.submit(&Request { nr: nr as u32, map_seq: self.seq, args: all });
        let ring = self.driver.must_ring();
        if ring {
            self.kick.write_all(&1_u64.to_ne_bytes()).unwrap();
        }
        ring
    }

    /// Waits for the reply, polling.
    pub fn reply(&mut self) -> Reply {
        let mut deadline = None;
        loop {
            for _ in 0..100_000 {
                if let Some(reply) = self.driver.poll() {
                    return reply;
                }
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the proxy is gone: {status}: {}", self.stderr());
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            assert!(Instant::now() < deadline, "no reply");
        }
    }

    /// A call: its return value.
    pub fn call(&mut self, nr: i64, args: &[u64]) -> i64 {
        self.submit(nr, args);
        self.reply().ret as i64
    }

    /// Waits for the proxy's end: its status and what it wrote to stderr.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.stderr());
            }
            assert!(Instant::now() < deadline, "the proxy lives on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everything that the proxy, which has ended, wrote to stdout.
    pub fn stdout(&mut self) -> String {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Lets the proxy fall asleep: until `/proc` says so.
    pub fn await_sleep(&self) {
        let deadline = Instant::now() + PATIENCE;
        let wchan = format!("/proc/{}/stat", self.child.id());
        while !std::fs::read_to_string(&wchan).unwrap().contains(") S ") {
            assert!(Instant::now() < deadline, "the proxy does not sleep");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Lwk {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
