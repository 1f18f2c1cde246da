use margay_abi::calls::lookup;
use proptest::prelude::*;

use super::{Admitted, Errno, Reserved, USER_END, admit, nr, split_close_range};

const BASE: u64 = 700;
/// Apart from the others, so that there are two holes.
const CONTROL: u64 = 710;

fn reserved() -> Reserved {
    Reserved::new(BASE as i32, Some(CONTROL as i32))
}

fn try_call(nr: u32, args: [u64; 6]) -> Result<Admitted, Errno> {
    admit(reserved(), lookup(nr.into()).unwrap(), args)
}

fn parts(first: u64, last: u64) -> Vec<(u64, u64)> {
    let call = try_call(nr::CLOSE_RANGE, [first, last, 0, 0, 0, 0]).unwrap();
    let parts = split_close_range(reserved(), call);
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
        (CONTROL - 1, true),
        (CONTROL, false),
        (CONTROL + 1, true),
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
    let between = (BASE + 3, CONTROL - 1);
    assert_eq!(parts(3, all), [(3, BASE - 1), between, (CONTROL + 1, all)]);
    assert_eq!(parts(3, 10), [(3, 10)]);
    assert_eq!(parts(BASE, BASE + 2), []);
    assert_eq!(parts(BASE + 1, all), [between, (CONTROL + 1, all)]);
    assert_eq!(parts(CONTROL, CONTROL), []);
    assert_eq!(parts(BASE + 5, CONTROL), [(BASE + 5, CONTROL - 1)]);
    assert_eq!(parts(0, BASE), [(0, BASE - 1)]);
    assert_eq!(parts(10, 3), [(10, 3)], "for Linux to refuse");
}

proptest! {
    #[test]
    fn a_split_range_closes_the_same_but_ours(
        first in prop_oneof![BASE - 4..BASE + 14, any::<u64>()],
        last in prop_oneof![BASE - 4..BASE + 14, any::<u64>()],
        fd in prop_oneof![BASE - 6..BASE + 16, 0..u64::from(u32::MAX)],
        control in prop_oneof![Just(None), (BASE as i32 - 3..BASE as i32 + 12).prop_map(Some)],
    ) {
        let reserved = Reserved::new(BASE as i32, control);
        let (low, high) = (u64::from(first as u32), u64::from(last as u32));
        let ours = (BASE..BASE + 3).contains(&fd) || control.is_some_and(|control| control as u64 == fd);
        let args = [first, last, 0, 0, 0, 0];
        let call = admit(reserved, lookup(nr::CLOSE_RANGE.into()).unwrap(), args).unwrap();
        let closing = split_close_range(reserved, call)
            .iter()
            .flatten()
            .filter(|part| part.args()[0] <= fd && fd <= part.args()[1])
            .count();
        prop_assert_eq!(closing, usize::from(low <= fd && fd <= high && !ours));
    }

    #[test]
    fn whatever_passes_touches_nothing_of_the_proxys(
        number in 0_u64..480,
        args in proptest::array::uniform6(prop_oneof![any::<u64>(), BASE - 1..BASE + 12]),
    ) {
        use margay_abi::calls::Arg;
        let Some(call) = lookup(number) else { return Ok(()) };
        if let Ok(admitted) = admit(reserved(), call, args) {
            prop_assert!(call.reaches_proxy());
            for (kind, &arg) in call.args().zip(admitted.args()) {
                match kind {
                    Arg::Pointer | Arg::Path => prop_assert!(!(USER_END..1 << 47).contains(&arg)),
                    Arg::Fd | Arg::DirFd => {
                        prop_assert!(!(BASE..BASE + 3).contains(&(arg & 0xffff_ffff)));
                        prop_assert_ne!(arg & 0xffff_ffff, CONTROL);
                    }
                    Arg::Number => {}
                }
            }
        }
    }
}
