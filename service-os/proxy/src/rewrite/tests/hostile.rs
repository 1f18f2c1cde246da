//! Bytes that no compiler made: whatever a guest shows as its text, planning ends soon, and a plan changes only what it
//! says.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::plan;
use super::assemble::code;
use super::verify::{Coverage, check};

const TEXT: u64 = 0x1234_5670;
const STUBS: u64 = 0x2000_0000;
const STUBS_LEN: u64 = 0x8000;

/// Pieces that make sites, holes, padding and branches likely.
fn pieces() -> Vec<&'static [u8]> {
    vec![
        code! { "syscall" },
        code! { "mov eax, 39" },
        code! { "xor eax, eax" },
        code! { "mov r10, rcx" },
        code! { "mov rax, [rip + 16]" },
        code! { "lea rdx, [rip - 12]" },
        code! { "2: call 2b + 9" },
        code! { "2: call 2b - 20" },
        code! { "2: jmp 2b - 9" },
        code! { "2: jne 2b + 5" },
        code! { "2: jrcxz 2b - 3" },
        code! { "cmp rax, -4095" },
        code! { "ret" },
        code! { "jmp rax" },
        code! { "jmp [rip + 64]" },
        code! { ".nops 9" },
        code! { ".nops 3" },
        code! { "int3" "int3" "int3" },
        code! { "endbr64" },
        code! { "hlt" },
        code! { "lock inc dword ptr [rdi]" },
        code! { "push rax" },
        code! { ".byte 0x06" },
    ]
}

fn assembled() -> impl Strategy<Value = Vec<u8>> {
    let pieces = pieces();
    let count = pieces.len();
    prop::collection::vec(0..count, 0..200)
        .prop_map(move |order| order.iter().flat_map(|&piece| pieces[piece].to_vec()).collect())
}

proptest! {
    #[test]
    fn random_bytes(text in prop::collection::vec(any::<u8>(), 0..2000)) {
        let plan = plan(&text, TEXT, STUBS, STUBS_LEN).unwrap();
        check(&text, TEXT, STUBS, STUBS_LEN, &plan);
    }

    #[test]
    fn random_code(text in assembled()) {
        let plan = plan(&text, TEXT, STUBS, STUBS_LEN).unwrap();
        check(&text, TEXT, STUBS, STUBS_LEN, &plan);
    }

    #[test]
    fn damaged_code(
        mut text in assembled(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..20),
    ) {
        for (at, bit) in flips {
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] ^= 1_u8 << bit;
            }
        }
        let plan = plan(&text, TEXT, STUBS, STUBS_LEN).unwrap();
        check(&text, TEXT, STUBS, STUBS_LEN, &plan);
    }

    #[test]
    fn any_places(
        text in assembled(),
        text_addr in any::<u64>(),
        distance in any::<i32>(),
        stubs_len in 0..0x1000_u64,
    ) {
        let stubs_addr = text_addr.wrapping_add_signed(distance.into());
        if let Ok(plan) = plan(&text, text_addr, stubs_addr, stubs_len) {
            check(&text, text_addr, stubs_addr, stubs_len, &plan);
            let mut out = vec![0; plan.encoded_len() + 1];
            prop_assert_eq!(plan.write_to(&mut out), Ok(plan.encoded_len()));
            prop_assert!(plan.write_to(&mut out[..plan.encoded_len() - 1]).is_err());
        }
    }
}

#[test]
fn random_code_is_patched_in_every_way() {
    // The property above would hold for a planner that gives up: here is one text in which it may not.
    let text = code! {
        "xor eax, eax" "syscall" "push rax" "pop rax" "ret" ".balign 16"
        "call 2f" "ret" "mov eax, 39" "syscall" "ret"
        "2: test edi, edi" "je 3f" "mov rax, rdi" "mov rdi, rsi" "syscall" "ret"
        "3: test esi, esi" "je 4f" "mov rax, rdi" "4: syscall" "mov rsi, rax" "ret"
    };
    let plan = plan(text, 0x1000, STUBS, STUBS_LEN).unwrap();
    let expected = Coverage { before_one: 1, before_several: 1, padding: 1, after: 1, skipped: 0 };
    assert_eq!(check(text, 0x1000, STUBS, STUBS_LEN, &plan), expected);
}

#[test]
fn a_text_of_nothing_but_sites_does_not_take_forever() {
    let text = code! { "syscall" }.repeat(1 << 19);
    let plan = plan(&text, TEXT, STUBS, STUBS_LEN).unwrap();
    assert_eq!((plan.header.sites, plan.header.skipped), (1 << 19, 1 << 19));
}
