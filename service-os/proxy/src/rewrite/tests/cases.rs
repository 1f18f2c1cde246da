//! One site at a time: which patch it gets, and which it must not get.

use margay_abi::rewrite::{Patch, PlanHeader};

use super::super::{Plan, PlanError, plan};
use super::assemble::code;
use super::verify::{Coverage, check};

const TEXT: u64 = 0x40_0000;
const STUBS: u64 = 0x4000_0000;
const STUBS_LEN: u64 = 0x1000;

/// Plans and checks; the plan, and the offsets of its patches.
fn planned(text: &[u8]) -> (Coverage, Plan, Vec<u64>) {
    let plan = plan(text, TEXT, STUBS, STUBS_LEN).unwrap();
    let coverage = check(text, TEXT, STUBS, STUBS_LEN, &plan);
    let places = plan.patches.iter().map(|patch| patch.addr - TEXT).collect();
    (coverage, plan, places)
}

fn none() -> Coverage {
    Coverage::default()
}

#[test]
fn the_load_of_the_number_gives_way() {
    let (coverage, plan, places) = planned(code! { "mov eax, 39" "syscall" "ret" });
    assert_eq!(coverage, Coverage { before_one: 1, ..none() });
    assert_eq!(places, [0]);
    // mov eax, 39; lea rcx, [0x400007]; jmp [0x40000000]
    let stub = [0xb8, 39, 0, 0, 0, 0x48, 0x8d, 0x0d, 0xeb, 0xff, 0x3f, 0xc0, 0xff, 0x25];
    assert_eq!(plan.stubs[..14], stub);
    assert_eq!(plan.stubs[14..], (-34_i32).to_le_bytes());
    assert_eq!(plan.patches[0].bytes[..5], [0xe9, 0x0b, 0x00, 0xc0, 0x3f]);
}

#[test]
fn short_instructions_between_stay_and_are_done_by_the_stub() {
    let text = code! { "mov eax, 257" "mov r10, rcx" "xor edx, edx" "syscall" "ret" };
    let (coverage, plan, _) = planned(text);
    assert_eq!(coverage, Coverage { before_one: 1, ..none() });
    assert_eq!(plan.patches[0].len, 5);
}

#[test]
fn a_longer_instruction_is_filled_up() {
    let (_, plan, _) = planned(code! { "mov rax, 39" "syscall" "ret" });
    assert_eq!(plan.patches[0].len, 7);
    assert_eq!(plan.patches[0].bytes[5..7], [0xcc, 0xcc]);
}

#[test]
fn two_bytes_are_enough_where_padding_is_near() {
    let text = code! { "mov r8, rdx" "xor eax, eax" "syscall" "ret" ".balign 16, 0xcc" "ret" };
    let (coverage, _, places) = planned(text);
    assert_eq!(coverage, Coverage { padding: 1, ..none() });
    assert_eq!(places, [8, 5]);
}

#[test]
fn nops_that_are_reached_are_no_padding() {
    let text = code! { "xor eax, eax" "syscall" "push rax" ".balign 16" "pop rax" "ret" };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn padding_that_something_jumps_to_is_left_alone() {
    let text = code! {
        "jrcxz 2f" "xor eax, eax" "syscall" "ret" "2: .nops 9" "ret"
    };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn sites_share_padding_as_long_as_there_is_room() {
    let text = code! {
        "xor eax, eax" "syscall" "ret" "xor eax, eax" "syscall" "ret" ".balign 16, 0xcc" "ret"
    };
    assert_eq!(planned(text).0, Coverage { padding: 1, skipped: 1, ..none() });
    let text = code! {
        "xor eax, eax" "syscall" "xor eax, eax" "syscall" "push rax" "pop rax"
        "xor eax, eax" "syscall" "ret" ".balign 16" ".nops 16" "ret"
    };
    assert_eq!(planned(text).0, Coverage { padding: 3, ..none() });
}

#[test]
fn a_hole_of_several_needs_a_function_seen_in_full() {
    let seen = code! { "call 2f" "ret" "2: mov rsi, rdi" "mov rax, rdx" "syscall" "ret" };
    assert_eq!(planned(seen).0, Coverage { before_several: 1, ..none() });
    let not_called = code! { "ret" "mov rsi, rdi" "mov rax, rdx" "syscall" "ret" };
    assert_eq!(planned(not_called).0, Coverage { skipped: 1, ..none() });
    let switch = code! {
        "call 2f" "ret" "2: test edi, edi" "je 3f" "jmp rdx"
        "3: mov rsi, rdi" "mov rax, rdx" "syscall" "ret"
    };
    assert_eq!(planned(switch).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn the_switch_may_be_in_the_hot_part_of_a_split_function() {
    let text = code! {
        "call 2f" "ret"
        "2: test edi, edi" "je 4f" "jmp rdx"
        "3: ret" "4: mov rsi, rdi" "mov rax, rdx" "syscall" "ret"
    };
    assert_eq!(planned(text).0.skipped, 1);
}

#[test]
fn nothing_jumps_into_a_hole() {
    let text = code! {
        "call 2f" "ret" "2: test edi, edi" "je 3f" "mov rsi, rdi" "3: mov rax, rdx" "syscall" "ret"
    };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
    let text = code! {
        "call 2f" "ret" "2: mov rax, rdx" "syscall" "3: cmp rax, -38" "jne 3b" "ret"
    };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn the_address_of_a_label_makes_it_a_target() {
    let text = code! {
        "call 2f" "ret" "2: lea rdi, [rip + 3f]" "push rax" "pop rax" "call rdi"
        "mov rsi, rdi" "3: mov rax, rdx" "syscall" "ret"
    };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn a_site_that_is_jumped_to_prefers_a_patch_for_all_ways() {
    let text = code! {
        "call 2f" "ret" "2: mov eax, 1" "test edi, edi" "je 3f" "mov eax, 2"
        "3: syscall" "mov rdi, rax" "ret"
    };
    assert_eq!(planned(text).0, Coverage { after: 1, ..none() });
    let unseen = code! {
        "mov eax, 1" "test edi, edi" "je 3f" "mov eax, 2" "3: syscall" "mov rdi, rax" "ret"
    };
    assert_eq!(planned(unseen).0, Coverage { before_one: 1, ..none() });
}

#[test]
fn what_follows_is_moved_with_its_branches() {
    for text in [
        code! { "call 2f" "ret" "2: mov rax, rdx" "syscall" "cmp rax, -38" "jne 2b" "ret" },
        code! { "call 2f" "ret" "2: mov rax, rdx" "syscall" "pop rdi" "jmp 2b" },
        code! { "call 2f" "ret" "2: mov rax, rdx" "syscall" "xchg edi, eax" "jrcxz 2b" "ret" },
        code! { "call 2f" "ret" "2: mov rax, rdx" "syscall" "push [rip - 0x100]" "ret" },
    ] {
        assert_eq!(planned(text).0, Coverage { after: 1, ..none() });
    }
}

#[test]
fn a_return_address_is_not_moved() {
    let text = code! { "call 2f" "ret" "2: mov rax, rdx" "syscall" "call 2b" "ret" };
    assert_eq!(planned(text).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn neighbours_do_not_overlap() {
    let back_to_back = code! { "mov eax, 39" "syscall" "syscall" "syscall" "ret" };
    assert_eq!(planned(back_to_back).0, Coverage { before_one: 1, skipped: 2, ..none() });
    let close = code! {
        "call 2f" "ret" "2: mov rax, rdx" "syscall" "mov rax, rdi" "xor esi, esi" "syscall" "ret"
    };
    assert_eq!(planned(close).0, Coverage { after: 1, skipped: 1, ..none() });
}

#[test]
fn code_that_is_read_as_data_stays() {
    let text = code! { "mov rdx, [rip + 2f]" "2: mov eax, 39" "syscall" "ret" };
    let (_, _, places) = planned(text);
    assert_eq!(places, [0]);
}

#[test]
fn a_signal_trampoline_stays() {
    assert_eq!(planned(code! { "mov rax, 15" "syscall" }).0, Coverage { skipped: 1, ..none() });
}

#[test]
fn a_function_does_not_begin_in_the_padding_before_it() {
    let text = code! { "hlt" ".balign 16" "xor eax, eax" "syscall" "ret" "nop" "nop" };
    let (_, _, places) = planned(text);
    // Not a jump in the padding that nothing would run, but a short one to it.
    assert_eq!(places, [1, 18]);
}

#[test]
fn a_syscall_among_data_stays() {
    for text in [
        code! { "mov eax, 39" "syscall" ".byte 0x06" "ret" },
        code! { "in al, dx" "mov eax, 39" "syscall" "ret" },
        code! { "jmp 2f + 1" "2: mov eax, 39" "syscall" "ret" },
    ] {
        let (coverage, plan, _) = planned(text);
        assert_eq!(coverage, Coverage { skipped: 1, ..none() }, "{plan:?}");
    }
}

#[test]
fn an_immediate_is_no_site() {
    let (_, plan, _) = planned(code! { "mov eax, 0x050f" "ret" });
    assert_eq!(plan.header, PlanHeader::default());
}

#[test]
fn sites_without_room_for_a_stub_are_skipped() {
    let text = code! { "mov eax, 39" "syscall" "mov eax, 39" "syscall" "ret" };
    for (len, skipped) in [(16, 2), (16 + 17, 2), (16 + 18, 1), (16 + 36, 0)] {
        let plan = plan(text, TEXT, STUBS, len).unwrap();
        check(text, TEXT, STUBS, len, &plan);
        assert_eq!(plan.header.skipped, skipped);
    }
}

#[test]
fn a_neighbour_that_reaches_too_far_is_not_moved() {
    // 2 GiB before the text; the stubs are 1 GiB behind it.
    let text = code! { "mov eax, [rip - 0x7fffff00]" "syscall" "ret" };
    for (stubs, skipped) in [(0x1_4000_0000, 1), (0xc000_0000, 0)] {
        let plan = plan(text, 0x1_0000_0000, stubs, STUBS_LEN).unwrap();
        assert_eq!(check(text, 0x1_0000_0000, stubs, STUBS_LEN, &plan).skipped, skipped);
    }
}

#[test]
fn impossible_places_are_refused() {
    let text = [0; 64];
    assert_eq!(plan(&text, TEXT, TEXT + 32, 0x1000), Err(PlanError::Overlap));
    assert_eq!(plan(&text, TEXT, TEXT + (2 << 30), 0x1000), Err(PlanError::TooFar));
    assert_eq!(plan(&text, u64::MAX - 8, STUBS, 0x1000), Err(PlanError::TooFar));
    assert_eq!(plan(&text, TEXT, u64::MAX, 0x1000), Err(PlanError::TooFar));
    assert_eq!(plan(&text, TEXT, STUBS, 15), Err(PlanError::NoStubArea));
    assert!(plan(&[], TEXT, STUBS, 16).is_ok());
}

#[test]
fn a_plan_is_written_as_the_contract_says() {
    let mut bytes = [0; 32];
    bytes[0] = 0xe9;
    let patch = Patch { addr: 0x1122_3344_5566_7788, len: 5, pad: 0, bytes };
    let header = PlanHeader { patches: 1, stub_bytes: 3, sites: 2, skipped: 1 };
    let plan = Plan { header, patches: vec![patch], stubs: vec![7, 8, 9] };
    let mut out = [0xaa; 70];
    assert_eq!(plan.write_to(&mut out), Ok(67));
    assert_eq!(out[..16], [1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(out[16..24], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    assert_eq!(out[24..33], [5, 0, 0, 0, 0, 0, 0, 0, 0xe9]);
    assert_eq!(out[33..64], [0; 31]);
    assert_eq!(out[64..], [7, 8, 9, 0xaa, 0xaa, 0xaa]);
    let error = PlanError::NoRoom { needed: 67, room: 66 };
    assert_eq!(plan.write_to(&mut out[..66]), Err(error));
}
