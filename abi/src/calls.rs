//! The triage table: what becomes of each x86-64 Linux system call.
//!
//! One table, used by the LWK to dispatch, by the proxy to refuse what must not reach it, and by `margay calls` to
//! print. A call is *local* (the LWK does it, though it may ask Linux for help), *split* (the LWK does what concerns itself and
//! has the proxy make the raw call for the rest), *delegated* (the proxy makes the raw call) or *refused* (with the errno
//! that Linux gives where it lacks the call or the right).
//! Numbers follow the kernel's `syscall_64.tbl`.

use crate::Errno;

/// Where a system call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// The LWK does it.
    Local,
    /// The LWK does what concerns itself, as a signal to itself or a short sleep; the proxy makes the raw call for the rest.
    Split,
    /// The proxy makes the raw call on Linux.
    Delegate,
    /// Nobody does it; the program gets this error.
    Refuse(Errno),
}

/// What an argument of a delegated call is, as far as the proxy must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// A number.
    Number,
    /// A file descriptor.
    Fd,
    /// A directory descriptor, or `AT_FDCWD`.
    DirFd,
    /// A pointer into the program's memory, or null, or (`fcntl`, `ioctl`) a number in its place.
    Pointer,
    /// A pointer to a NUL-terminated string in the program's memory.
    Path,
}

/// An entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// The number in RAX.
    pub nr: u32,
    /// Linux's name.
    pub name: &'static str,
    /// Where it goes.
    pub route: Route,
    signature: &'static str,
}

impl Call {
    /// Whether the proxy may be asked to make this call.
    pub const fn reaches_proxy(&self) -> bool {
        matches!(self.route, Route::Delegate | Route::Split)
    }

    /// The arguments of a call that reaches the proxy, in order; empty for others.
    pub fn args(&self) -> impl Iterator<Item = Arg> {
        self.signature.bytes().map(|kind| match kind {
            b'f' => Arg::Fd,
            b'a' => Arg::DirFd,
            b'p' => Arg::Pointer,
            b's' => Arg::Path,
            _ => Arg::Number,
        })
    }
}

/// Calls that are not Linux's: what the LWK and the proxy (or a measuring program and the LWK) say to each other.
/// The numbers are above every Linux one.
pub mod private {
    /// LWK to proxy: apply the map log, nothing else.
    pub const SYNC: u32 = 0x4d00;
    /// LWK to proxy: see [`crate::rewrite`].
    pub const PLAN_REWRITE: u32 = 0x4d01;
    /// LWK to proxy, args `status`: the program exits with this status; so must the proxy. No reply.
    pub const EXIT: u32 = 0x4d02;
    /// LWK to proxy, args `signal`: the program dies by this signal; so must the proxy. No reply.
    pub const DIE: u32 = 0x4d03;
    /// LWK to proxy, args `signal`, `ignored` (0 or 1): the program ignores this signal from now on, or no longer.
    pub const SET_IGNORED: u32 = 0x4d04;
    /// Program to LWK: one exit to the VMM and back, nothing else. For `margay bench`.
    pub const PROBE_EXIT: u32 = 0x4d10;
}

/// Linux numbers that the code names.
#[allow(missing_docs, reason = "the names are Linux's own")]
pub mod nr {
    macro_rules! numbers {
        ($($name:ident = $nr:literal),* $(,)?) => { $(pub const $name: u32 = $nr;)* };
    }
    numbers! {
        READ = 0, CLOSE = 3, MMAP = 9, MPROTECT = 10, MUNMAP = 11, BRK = 12, RT_SIGACTION = 13,
        RT_SIGPROCMASK = 14, PREAD64 = 17, SCHED_YIELD = 24, MREMAP = 25, MSYNC = 26,
        MINCORE = 27, MADVISE = 28, DUP2 = 33, PAUSE = 34, NANOSLEEP = 35, GETPID = 39, EXIT = 60, KILL = 62, FCNTL = 72,
        READLINK = 89, GETTIMEOFDAY = 96, GETPPID = 110, RT_SIGPENDING = 127, SIGALTSTACK = 131, MLOCK = 149,
        MUNLOCK = 150, MLOCKALL = 151, MUNLOCKALL = 152, PRCTL = 157, ARCH_PRCTL = 158, GETTID = 186, TKILL = 200,
        TIME = 201, FUTEX = 202, SCHED_SETAFFINITY = 203, SCHED_GETAFFINITY = 204, SET_TID_ADDRESS = 218,
        RESTART_SYSCALL = 219, CLOCK_GETTIME = 228, CLOCK_GETRES = 229, CLOCK_NANOSLEEP = 230, EXIT_GROUP = 231,
        TGKILL = 234, READLINKAT = 267, SET_ROBUST_LIST = 273, DUP3 = 292, GETCPU = 309, MEMBARRIER = 324,
        MLOCK2 = 325, CLOSE_RANGE = 436, SETUID = 105, SETGID = 106, SETREUID = 113, SETREGID = 114, SETRESUID = 117,
        SETRESGID = 119, SETFSUID = 122, SETFSGID = 123, CAPSET = 126, CLONE = 56, FORK = 57, VFORK = 58,
        EXECVE = 59, CLONE3 = 435,
    }

    /// Whether a call changes the credentials of its process.
    pub const fn changes_credentials(nr: u32) -> bool {
        matches!(
            nr,
            SETUID
                | SETGID
                | SETREUID
                | SETREGID
                | SETRESUID
                | SETRESGID
                | SETFSUID
                | SETFSGID
                | CAPSET
        )
    }
}

/// The entry of a call number; `None` for numbers that Linux does not have (`ENOSYS`).
pub fn lookup(nr: u64) -> Option<&'static Call> {
    let slot = *INDEX.get(usize::try_from(nr).ok()?)?;
    CALLS.get(usize::from(slot))
}

/// One past the largest Linux call number.
const NUMBERS: usize = CALL_TABLE[CALL_TABLE.len() - 1].nr as usize + 1;
/// Marks a number that Linux does not have.
const NO_CALL: u16 = u16::MAX;
/// Place in [`CALLS`] of each call number: the numbers have a gap between 334 and 424.
static INDEX: [u16; NUMBERS] = {
    let mut index = [NO_CALL; NUMBERS];
    let mut i = 0;
    while i < CALL_TABLE.len() {
        assert!(
            index[CALL_TABLE[i].nr as usize] == NO_CALL,
            "a call number stands twice in the table"
        );
        index[CALL_TABLE[i].nr as usize] = i as u16;
        i += 1;
    }
    index
};

macro_rules! calls {
    ($($nr:literal $name:ident $signature:literal => $route:expr;)*) => {
        &[$(Call { nr: $nr, name: stringify!($name), signature: $signature, route: $route },)*]
    };
}

use Route::{Delegate, Local, Refuse, Split};

/// The table, in the order of the numbers. Signatures: `f` descriptor, `a` directory descriptor, `p` pointer, `s` path, `n`
/// number.
pub static CALLS: &[Call] = CALL_TABLE;
#[rustfmt::skip]
const CALL_TABLE: &[Call] = calls! {
      0 read "fpn" => Delegate;
      1 write "fpn" => Delegate;
      2 open "snn" => Delegate;
      3 close "f" => Delegate;
      4 stat "sp" => Delegate;
      5 fstat "fp" => Delegate;
      6 lstat "sp" => Delegate;
      7 poll "pnn" => Delegate;
      8 lseek "fnn" => Delegate;
      9 mmap "" => Local;
     10 mprotect "" => Local;
     11 munmap "" => Local;
     12 brk "" => Local;
     13 rt_sigaction "" => Local;
     14 rt_sigprocmask "" => Local;
     15 rt_sigreturn "" => Refuse(Errno::ENOSYS);
     16 ioctl "fnp" => Delegate;
     17 pread64 "fpnn" => Delegate;
     18 pwrite64 "fpnn" => Delegate;
     19 readv "fpn" => Delegate;
     20 writev "fpn" => Delegate;
     21 access "sn" => Delegate;
     22 pipe "p" => Delegate;
     23 select "npppp" => Delegate;
     24 sched_yield "" => Local;
     25 mremap "" => Local;
     26 msync "" => Local;
     27 mincore "" => Local;
     28 madvise "" => Local;
     29 shmget "" => Refuse(Errno::ENOSYS);
     30 shmat "" => Refuse(Errno::ENOSYS);
     31 shmctl "" => Refuse(Errno::ENOSYS);
     32 dup "f" => Delegate;
     33 dup2 "fn" => Delegate;
     34 pause "" => Delegate;
     35 nanosleep "pp" => Split;
     36 getitimer "np" => Delegate;
     37 alarm "" => Refuse(Errno::ENOSYS);
     38 setitimer "" => Refuse(Errno::ENOSYS);
     39 getpid "" => Local;
     40 sendfile "ffpn" => Delegate;
     41 socket "nnn" => Delegate;
     42 connect "fpn" => Delegate;
     43 accept "fpp" => Delegate;
     44 sendto "fpnnpn" => Delegate;
     45 recvfrom "fpnnpp" => Delegate;
     46 sendmsg "fpn" => Delegate;
     47 recvmsg "fpn" => Delegate;
     48 shutdown "fn" => Delegate;
     49 bind "fpn" => Delegate;
     50 listen "fn" => Delegate;
     51 getsockname "fpp" => Delegate;
     52 getpeername "fpp" => Delegate;
     53 socketpair "nnnp" => Delegate;
     54 setsockopt "fnnpn" => Delegate;
     55 getsockopt "fnnpp" => Delegate;
     56 clone "" => Refuse(Errno::ENOSYS);
     57 fork "" => Refuse(Errno::ENOSYS);
     58 vfork "" => Refuse(Errno::ENOSYS);
     59 execve "" => Refuse(Errno::ENOSYS);
     60 exit "" => Local;
     61 wait4 "npnp" => Delegate;
     62 kill "nn" => Split;
     63 uname "p" => Delegate;
     64 semget "nnn" => Delegate;
     65 semop "npn" => Delegate;
     66 semctl "nnnp" => Delegate;
     67 shmdt "" => Refuse(Errno::ENOSYS);
     68 msgget "nn" => Delegate;
     69 msgsnd "npnn" => Delegate;
     70 msgrcv "npnnn" => Delegate;
     71 msgctl "nnp" => Delegate;
     72 fcntl "fnp" => Delegate;
     73 flock "fn" => Delegate;
     74 fsync "f" => Delegate;
     75 fdatasync "f" => Delegate;
     76 truncate "sn" => Delegate;
     77 ftruncate "fn" => Delegate;
     78 getdents "fpn" => Delegate;
     79 getcwd "pn" => Delegate;
     80 chdir "s" => Delegate;
     81 fchdir "f" => Delegate;
     82 rename "ss" => Delegate;
     83 mkdir "sn" => Delegate;
     84 rmdir "s" => Delegate;
     85 creat "sn" => Delegate;
     86 link "ss" => Delegate;
     87 unlink "s" => Delegate;
     88 symlink "ss" => Delegate;
     89 readlink "spn" => Delegate;
     90 chmod "sn" => Delegate;
     91 fchmod "fn" => Delegate;
     92 chown "snn" => Delegate;
     93 fchown "fnn" => Delegate;
     94 lchown "snn" => Delegate;
     95 umask "n" => Delegate;
     96 gettimeofday "" => Local;
     97 getrlimit "np" => Delegate;
     98 getrusage "np" => Delegate;
     99 sysinfo "p" => Delegate;
    100 times "p" => Delegate;
    101 ptrace "" => Refuse(Errno::EPERM);
    102 getuid "" => Delegate;
    103 syslog "npn" => Delegate;
    104 getgid "" => Delegate;
    105 setuid "n" => Delegate;
    106 setgid "n" => Delegate;
    107 geteuid "" => Delegate;
    108 getegid "" => Delegate;
    109 setpgid "nn" => Delegate;
    110 getppid "" => Delegate;
    111 getpgrp "" => Delegate;
    112 setsid "" => Delegate;
    113 setreuid "nn" => Delegate;
    114 setregid "nn" => Delegate;
    115 getgroups "np" => Delegate;
    116 setgroups "np" => Delegate;
    117 setresuid "nnn" => Delegate;
    118 getresuid "ppp" => Delegate;
    119 setresgid "nnn" => Delegate;
    120 getresgid "ppp" => Delegate;
    121 getpgid "n" => Delegate;
    122 setfsuid "n" => Delegate;
    123 setfsgid "n" => Delegate;
    124 getsid "n" => Delegate;
    125 capget "pp" => Delegate;
    126 capset "pp" => Delegate;
    127 rt_sigpending "" => Local;
    128 rt_sigtimedwait "" => Refuse(Errno::ENOSYS);
    129 rt_sigqueueinfo "" => Refuse(Errno::ENOSYS);
    130 rt_sigsuspend "" => Refuse(Errno::ENOSYS);
    131 sigaltstack "" => Local;
    132 utime "sp" => Delegate;
    133 mknod "snn" => Delegate;
    134 uselib "" => Refuse(Errno::ENOSYS);
    135 personality "" => Refuse(Errno::EPERM);
    136 ustat "np" => Delegate;
    137 statfs "sp" => Delegate;
    138 fstatfs "fp" => Delegate;
    139 sysfs "nnn" => Delegate;
    140 getpriority "nn" => Delegate;
    141 setpriority "nnn" => Delegate;
    142 sched_setparam "np" => Delegate;
    143 sched_getparam "np" => Delegate;
    144 sched_setscheduler "nnp" => Delegate;
    145 sched_getscheduler "n" => Delegate;
    146 sched_get_priority_max "n" => Delegate;
    147 sched_get_priority_min "n" => Delegate;
    148 sched_rr_get_interval "np" => Delegate;
    149 mlock "" => Local;
    150 munlock "" => Local;
    151 mlockall "" => Local;
    152 munlockall "" => Local;
    153 vhangup "" => Delegate;
    154 modify_ldt "" => Refuse(Errno::ENOSYS);
    155 pivot_root "" => Refuse(Errno::EPERM);
    156 _sysctl "" => Refuse(Errno::ENOSYS);
    157 prctl "npppp" => Split;
    158 arch_prctl "" => Local;
    159 adjtimex "p" => Delegate;
    160 setrlimit "np" => Delegate;
    161 chroot "" => Refuse(Errno::EPERM);
    162 sync "" => Delegate;
    163 acct "" => Refuse(Errno::EPERM);
    164 settimeofday "pp" => Delegate;
    165 mount "" => Refuse(Errno::EPERM);
    166 umount2 "" => Refuse(Errno::EPERM);
    167 swapon "" => Refuse(Errno::EPERM);
    168 swapoff "" => Refuse(Errno::EPERM);
    169 reboot "" => Refuse(Errno::EPERM);
    170 sethostname "sn" => Delegate;
    171 setdomainname "sn" => Delegate;
    172 iopl "" => Refuse(Errno::EPERM);
    173 ioperm "" => Refuse(Errno::EPERM);
    174 create_module "" => Refuse(Errno::ENOSYS);
    175 init_module "" => Refuse(Errno::EPERM);
    176 delete_module "" => Refuse(Errno::EPERM);
    177 get_kernel_syms "" => Refuse(Errno::ENOSYS);
    178 query_module "" => Refuse(Errno::ENOSYS);
    179 quotactl "nsnp" => Delegate;
    180 nfsservctl "" => Refuse(Errno::ENOSYS);
    181 getpmsg "" => Refuse(Errno::ENOSYS);
    182 putpmsg "" => Refuse(Errno::ENOSYS);
    183 afs_syscall "" => Refuse(Errno::ENOSYS);
    184 tuxcall "" => Refuse(Errno::ENOSYS);
    185 security "" => Refuse(Errno::ENOSYS);
    186 gettid "" => Local;
    187 readahead "fnn" => Delegate;
    188 setxattr "sspnn" => Delegate;
    189 lsetxattr "sspnn" => Delegate;
    190 fsetxattr "fspnn" => Delegate;
    191 getxattr "sspn" => Delegate;
    192 lgetxattr "sspn" => Delegate;
    193 fgetxattr "fspn" => Delegate;
    194 listxattr "spn" => Delegate;
    195 llistxattr "spn" => Delegate;
    196 flistxattr "fpn" => Delegate;
    197 removexattr "ss" => Delegate;
    198 lremovexattr "ss" => Delegate;
    199 fremovexattr "fs" => Delegate;
    200 tkill "" => Local;
    201 time "" => Local;
    202 futex "" => Local;
    203 sched_setaffinity "" => Local;
    204 sched_getaffinity "nnp" => Split;
    205 set_thread_area "" => Refuse(Errno::ENOSYS);
    206 io_setup "" => Refuse(Errno::ENOSYS);
    207 io_destroy "" => Refuse(Errno::ENOSYS);
    208 io_getevents "" => Refuse(Errno::ENOSYS);
    209 io_submit "" => Refuse(Errno::ENOSYS);
    210 io_cancel "" => Refuse(Errno::ENOSYS);
    211 get_thread_area "" => Refuse(Errno::ENOSYS);
    212 lookup_dcookie "" => Refuse(Errno::ENOSYS);
    213 epoll_create "n" => Delegate;
    214 epoll_ctl_old "" => Refuse(Errno::ENOSYS);
    215 epoll_wait_old "" => Refuse(Errno::ENOSYS);
    216 remap_file_pages "" => Refuse(Errno::ENOSYS);
    217 getdents64 "fpn" => Delegate;
    218 set_tid_address "" => Local;
    219 restart_syscall "" => Local;
    220 semtimedop "npnp" => Delegate;
    221 fadvise64 "fnnn" => Delegate;
    222 timer_create "" => Refuse(Errno::ENOSYS);
    223 timer_settime "" => Refuse(Errno::ENOSYS);
    224 timer_gettime "" => Refuse(Errno::ENOSYS);
    225 timer_getoverrun "" => Refuse(Errno::ENOSYS);
    226 timer_delete "" => Refuse(Errno::ENOSYS);
    227 clock_settime "np" => Delegate;
    228 clock_gettime "np" => Split;
    229 clock_getres "np" => Split;
    230 clock_nanosleep "nnpp" => Split;
    231 exit_group "" => Local;
    232 epoll_wait "fpnn" => Delegate;
    233 epoll_ctl "fnnp" => Delegate;
    234 tgkill "nnn" => Split;
    235 utimes "sp" => Delegate;
    236 vserver "" => Refuse(Errno::ENOSYS);
    237 mbind "" => Refuse(Errno::ENOSYS);
    238 set_mempolicy "" => Refuse(Errno::ENOSYS);
    239 get_mempolicy "" => Refuse(Errno::ENOSYS);
    240 mq_open "snnp" => Delegate;
    241 mq_unlink "s" => Delegate;
    242 mq_timedsend "fpnnp" => Delegate;
    243 mq_timedreceive "fpnpp" => Delegate;
    244 mq_notify "fp" => Delegate;
    245 mq_getsetattr "fpp" => Delegate;
    246 kexec_load "" => Refuse(Errno::EPERM);
    247 waitid "nnpnp" => Delegate;
    248 add_key "sspnn" => Delegate;
    249 request_key "sssn" => Delegate;
    250 keyctl "nnnnn" => Delegate;
    251 ioprio_set "nnn" => Delegate;
    252 ioprio_get "nn" => Delegate;
    253 inotify_init "" => Delegate;
    254 inotify_add_watch "fsn" => Delegate;
    255 inotify_rm_watch "fn" => Delegate;
    256 migrate_pages "" => Refuse(Errno::ENOSYS);
    257 openat "asnn" => Delegate;
    258 mkdirat "asn" => Delegate;
    259 mknodat "asnn" => Delegate;
    260 fchownat "asnnn" => Delegate;
    261 futimesat "asp" => Delegate;
    262 newfstatat "aspn" => Delegate;
    263 unlinkat "asn" => Delegate;
    264 renameat "asas" => Delegate;
    265 linkat "asasn" => Delegate;
    266 symlinkat "sas" => Delegate;
    267 readlinkat "aspn" => Delegate;
    268 fchmodat "asn" => Delegate;
    269 faccessat "asn" => Delegate;
    270 pselect6 "nppppp" => Delegate;
    271 ppoll "pnppn" => Delegate;
    272 unshare "" => Refuse(Errno::EPERM);
    273 set_robust_list "" => Local;
    274 get_robust_list "" => Refuse(Errno::ENOSYS);
    275 splice "fpfpnn" => Delegate;
    276 tee "ffnn" => Delegate;
    277 sync_file_range "fnnn" => Delegate;
    278 vmsplice "fpnn" => Delegate;
    279 move_pages "" => Refuse(Errno::ENOSYS);
    280 utimensat "aspn" => Delegate;
    281 epoll_pwait "fpnnpn" => Delegate;
    282 signalfd "" => Refuse(Errno::ENOSYS);
    283 timerfd_create "nn" => Delegate;
    284 eventfd "n" => Delegate;
    285 fallocate "fnnn" => Delegate;
    286 timerfd_settime "fnpp" => Delegate;
    287 timerfd_gettime "fp" => Delegate;
    288 accept4 "fppn" => Delegate;
    289 signalfd4 "" => Refuse(Errno::ENOSYS);
    290 eventfd2 "nn" => Delegate;
    291 epoll_create1 "n" => Delegate;
    292 dup3 "fnn" => Delegate;
    293 pipe2 "pn" => Delegate;
    294 inotify_init1 "n" => Delegate;
    295 preadv "fpnnn" => Delegate;
    296 pwritev "fpnnn" => Delegate;
    297 rt_tgsigqueueinfo "" => Refuse(Errno::ENOSYS);
    298 perf_event_open "" => Refuse(Errno::EPERM);
    299 recvmmsg "fpnnp" => Delegate;
    300 fanotify_init "nn" => Delegate;
    301 fanotify_mark "fnnas" => Delegate;
    302 prlimit64 "nnpp" => Delegate;
    303 name_to_handle_at "asppn" => Delegate;
    304 open_by_handle_at "fpn" => Delegate;
    305 clock_adjtime "np" => Delegate;
    306 syncfs "f" => Delegate;
    307 sendmmsg "fpnn" => Delegate;
    308 setns "" => Refuse(Errno::EPERM);
    309 getcpu "" => Local;
    310 process_vm_readv "" => Refuse(Errno::EPERM);
    311 process_vm_writev "" => Refuse(Errno::EPERM);
    312 kcmp "nnnnn" => Delegate;
    313 finit_module "" => Refuse(Errno::EPERM);
    314 sched_setattr "npn" => Delegate;
    315 sched_getattr "npnn" => Delegate;
    316 renameat2 "asasn" => Delegate;
    317 seccomp "" => Refuse(Errno::ENOSYS);
    318 getrandom "pnn" => Delegate;
    319 memfd_create "sn" => Delegate;
    320 kexec_file_load "" => Refuse(Errno::EPERM);
    321 bpf "" => Refuse(Errno::EPERM);
    322 execveat "" => Refuse(Errno::ENOSYS);
    323 userfaultfd "" => Refuse(Errno::ENOSYS);
    324 membarrier "" => Local;
    325 mlock2 "" => Local;
    326 copy_file_range "fpfpnn" => Delegate;
    327 preadv2 "fpnnnn" => Delegate;
    328 pwritev2 "fpnnnn" => Delegate;
    329 pkey_mprotect "" => Refuse(Errno::ENOSYS);
    330 pkey_alloc "" => Refuse(Errno::ENOSYS);
    331 pkey_free "" => Refuse(Errno::ENOSYS);
    332 statx "asnnp" => Delegate;
    333 io_pgetevents "" => Refuse(Errno::ENOSYS);
    334 rseq "" => Refuse(Errno::ENOSYS);
    424 pidfd_send_signal "fnpn" => Delegate;
    425 io_uring_setup "" => Refuse(Errno::ENOSYS);
    426 io_uring_enter "" => Refuse(Errno::ENOSYS);
    427 io_uring_register "" => Refuse(Errno::ENOSYS);
    428 open_tree "" => Refuse(Errno::EPERM);
    429 move_mount "" => Refuse(Errno::EPERM);
    430 fsopen "" => Refuse(Errno::EPERM);
    431 fsconfig "" => Refuse(Errno::EPERM);
    432 fsmount "" => Refuse(Errno::EPERM);
    433 fspick "" => Refuse(Errno::EPERM);
    434 pidfd_open "nn" => Delegate;
    435 clone3 "" => Refuse(Errno::ENOSYS);
    436 close_range "nnn" => Delegate;
    437 openat2 "aspn" => Delegate;
    438 pidfd_getfd "nnn" => Delegate;
    439 faccessat2 "asnn" => Delegate;
    440 process_madvise "" => Refuse(Errno::ENOSYS);
    441 epoll_pwait2 "fpnppn" => Delegate;
    442 mount_setattr "" => Refuse(Errno::EPERM);
    443 quotactl_fd "" => Refuse(Errno::EPERM);
    444 landlock_create_ruleset "" => Refuse(Errno::ENOSYS);
    445 landlock_add_rule "" => Refuse(Errno::ENOSYS);
    446 landlock_restrict_self "" => Refuse(Errno::ENOSYS);
    447 memfd_secret "" => Refuse(Errno::ENOSYS);
    448 process_mrelease "" => Refuse(Errno::ENOSYS);
    449 futex_waitv "" => Refuse(Errno::ENOSYS);
    450 set_mempolicy_home_node "" => Refuse(Errno::ENOSYS);
    451 cachestat "fppn" => Delegate;
    452 fchmodat2 "asnn" => Delegate;
    453 map_shadow_stack "" => Refuse(Errno::ENOSYS);
    454 futex_wake "" => Refuse(Errno::ENOSYS);
    455 futex_wait "" => Refuse(Errno::ENOSYS);
    456 futex_requeue "" => Refuse(Errno::ENOSYS);
    457 statmount "ppnn" => Delegate;
    458 listmount "ppnn" => Delegate;
    459 lsm_get_self_attr "" => Refuse(Errno::ENOSYS);
    460 lsm_set_self_attr "" => Refuse(Errno::ENOSYS);
    461 lsm_list_modules "" => Refuse(Errno::ENOSYS);
    462 mseal "" => Refuse(Errno::ENOSYS);
    463 setxattrat "asnspn" => Delegate;
    464 getxattrat "asnspn" => Delegate;
    465 listxattrat "asnpn" => Delegate;
    466 removexattrat "asns" => Delegate;
    467 open_tree_attr "" => Refuse(Errno::EPERM);
    468 file_getattr "aspnn" => Delegate;
    469 file_setattr "aspnn" => Delegate;
};

#[cfg(test)]
mod tests {
    use super::{Arg, CALLS, lookup, nr};

    #[test]
    fn the_table_is_sorted_and_found_by_number() {
        assert!(CALLS.windows(2).all(|pair| pair[0].nr < pair[1].nr));
        assert!(CALLS.iter().all(|call| lookup(u64::from(call.nr)) == Some(call)));
        assert_eq!(lookup(335), None);
        assert_eq!(lookup(u64::MAX), None);
    }

    #[test]
    fn only_calls_that_reach_the_proxy_have_signatures() {
        for call in CALLS {
            assert!(call.args().count() <= 6, "{}", call.name);
            assert!(call.reaches_proxy() || call.args().count() == 0, "{}", call.name);
        }
        let read = lookup(u64::from(nr::READ)).unwrap();
        assert!(read.args().eq([Arg::Fd, Arg::Pointer, Arg::Number]));
    }
}
