use margay_abi::calls::lookup;
use proptest::prelude::*;

use super::{Admitted, Errno, Reserved, USER_END, admit, nr, split_close_range};

const BASE: u64 = 700;

fn try_call(nr: u32, args: [u64; 6]) -> Result<Admitted, Errno> {
    admit(Reserved::new(BASE as i32), lookup(nr.into()).unwrap(), args)
}

fn parts(first: u64, last: u64) -> Vec<(u64, u64)> {
    let call = try_call(nr::CLOSE_RANGE, [first, last, 0, 0, 0, 0]).unwrap();
    let parts = split_close_range(Reserved::new(BASE as i32), call);
    parts.iter().flatten().map(|part| (part.args()[0], part.args()[1])).collect()
}

#[test]
fn only_delegated_calls_pass() {
    for local in [nr::MMAP, nr::MUNMAP, nr::BRK, nr::EXIT_GROUP, nr::CLONE, nr::EXECVE, nr::FORK] {
        assert_eq!(try_call(local, [0; 6]), Err(Errno::ENOSYS), "{local}");
    }
    assert_eq!(try_call(nr::GETPPID, [u64::MAX; 6]).unwrap().nr(), nr::GETPPID);
}

#[test]
fn pointers_end_at_the_programs_memory() {
    const USER_SPACE_END: u64 = 1 << 47;
    let read = |buffer| try_call(nr::READ, [0, buffer, u64::MAX, 0, 0, 0]);
    assert!(read(0).is_ok() && read(USER_END - 1).is_ok());
    assert_eq!(read(USER_END), Err(Errno::EFAULT));
    assert_eq!(read(USER_SPACE_END - 1), Err(Errno::EFAULT));
    assert!(read(USER_SPACE_END).is_ok(), "Linux refuses it");
    assert!(try_call(nr::FCNTL, [0, 8, -5_i64 as u64, 0, 0, 0]).is_ok(), "a negative number");
    assert_eq!(try_call(nr::READLINK, [USER_END, 0, 0, 0, 0, 0]), Err(Errno::EFAULT), "a path");
}

#[test]
fn the_proxys_descriptors_do_not_exist() {
    for (fd, result) in [
        (BASE - 1, true),
        (BASE, false),
        (BASE + 1, false),
        (BASE + 2, false),
        (BASE + 3, true),
        (BASE | 1 << 32, false),
        (-1_i64 as u64, true),
    ] {
        for call in [nr::READ, nr::CLOSE, nr::DUP2, nr::DUP3, nr::FCNTL, nr::READLINKAT] {
            assert_eq!(try_call(call, [fd, 0, 0, 0, 0, 0]).is_ok(), result, "{call} {fd:#x}");
        }
        for call in [nr::DUP2, nr::DUP3] {
            assert_eq!(try_call(call, [1, fd, 0, 0, 0, 0]).is_ok(), result, "{call} to {fd:#x}");
        }
    }
}

#[test]
fn closing_a_range_leaves_a_hole() {
    let all = u64::from(u32::MAX);
    assert_eq!(parts(3, all), [(3, BASE - 1), (BASE + 3, all)]);
    assert_eq!(parts(3, 10), [(3, 10)]);
    assert_eq!(parts(BASE, BASE + 2), []);
    assert_eq!(parts(BASE + 1, all), [(BASE + 3, all)]);
    assert_eq!(parts(0, BASE), [(0, BASE - 1)]);
    assert_eq!(parts(10, 3), [(10, 3)], "for Linux to refuse");
}

proptest! {
    #[test]
    fn a_split_range_closes_the_same_but_ours(
        first in prop_oneof![BASE - 4..BASE + 6, any::<u64>()],
        last in prop_oneof![BASE - 4..BASE + 6, any::<u64>()],
        fd in prop_oneof![BASE - 6..BASE + 8, 0..u64::from(u32::MAX)],
    ) {
        let (low, high) = (u64::from(first as u32), u64::from(last as u32));
        let want = low <= fd && fd <= high && !(BASE..BASE + 3).contains(&fd);
        let closed = parts(first, last).iter().any(|&(first, last)| first <= fd && fd <= last);
        prop_assert_eq!(closed, want);
    }

    #[test]
    fn whatever_passes_touches_nothing_of_the_proxys(
        number in 0_u64..480,
        args in proptest::array::uniform6(prop_oneof![any::<u64>(), BASE - 1..BASE + 5]),
    ) {
        use margay_abi::calls::Arg;
        let Some(call) = lookup(number) else { return Ok(()) };
        if let Ok(admitted) = admit(Reserved::new(BASE as i32), call, args) {
            prop_assert!(call.reaches_proxy());
            for (kind, &arg) in call.args().zip(admitted.args()) {
                match kind {
                    Arg::Pointer | Arg::Path => prop_assert!(!(USER_END..1 << 47).contains(&arg)),
                    Arg::Fd | Arg::DirFd => prop_assert!(!(BASE..BASE + 3).contains(&(arg & 0xffff_ffff))),
                    Arg::Number => {}
                }
            }
        }
    }
}
