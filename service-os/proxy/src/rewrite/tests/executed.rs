//! Runs code before and after its rewriting and compares what it does. The gate here makes the real system call.

use std::ptr::null_mut;

use super::super::plan;
use super::assemble::code;
use super::verify::{Coverage, check};
use margay_abi::rewrite::STUB_AREA_START;

/// Bytes of the memory that one piece of code is run in.
const ARENA: usize = 0x4000;
/// Where in it the code lies.
const TEXT: usize = 0;
/// Where in it the stubs lie.
const STUBS: usize = 0x1000;
/// Where in it the gate lies.
const GATE: usize = 0x2000;
/// Where in it the gate counts.
const COUNT: usize = 0x3000;

/// A gate: counts, makes the call, and goes on at the RCX it came with, changing no flags and no stack, as the LWK's
/// does. Its data lies 0x1000 and 0x1008 bytes behind its start.
fn gate() -> &'static [u8] {
    code! {
        "2: mov r11, [rip + 2b + 0x1000]"
        "lea r11, [r11 + 1]"
        "mov [rip + 2b + 0x1000], r11"
        "mov [rip + 2b + 0x1008], rcx"
        "syscall"
        "mov rcx, [rip + 2b + 0x1008]"
        "jmp rcx"
    }
}

/// Memory that can be read, written and executed.
struct Arena(*mut u8);

impl Arena {
    fn new() -> Self {
        let prot = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping anywhere changes no other memory.
        let addr = unsafe { libc::mmap(null_mut(), ARENA, prot, flags, -1, 0) };
        assert_ne!(addr, libc::MAP_FAILED);
        Self(addr.cast())
    }

    fn addr(&self, offset: usize) -> u64 {
        self.0 as u64 + offset as u64
    }

    fn put(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= ARENA);
        // SAFETY: the range is inside the mapping, which only this test uses and no reference points to.
        unsafe { self.0.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    fn calls(&self) -> u64 {
        // SAFETY: inside the mapping, aligned, and any bytes are a number.
        unsafe { self.0.add(COUNT).cast::<u64>().read() }
    }

    /// Calls the code at the start.
    fn run(&self, args: [u64; 3]) -> u64 {
        // SAFETY: the arena starts with code that a test wrote for this calling convention.
        let function: extern "sysv64" fn(u64, u64, u64) -> u64 =
            unsafe { std::mem::transmute(self.0) };
        function(args[0], args[1], args[2])
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: this unmaps what `new` mapped, which nothing refers to any more.
        unsafe { libc::munmap(self.0.cast(), ARENA) };
    }
}

/// Runs `text`, a function, as it is and rewritten, with some arguments. The results must be equal, and the rewritten
/// one must have called the gate `calls` times in each run.
fn compare(text: &[u8], calls: u64, args: &[[u64; 3]]) -> Coverage {
    let arena = Arena::new();
    arena.put(TEXT, text);
    let expected: Vec<u64> = args.iter().map(|&args| arena.run(args)).collect();

    let (stubs, stubs_len) = (arena.addr(STUBS), (GATE - STUBS) as u64);
    let plan = plan(text, arena.addr(TEXT), stubs, stubs_len).unwrap();
    let coverage = check(text, arena.addr(TEXT), stubs, stubs_len, &plan);
    arena.put(GATE, gate());
    arena.put(STUBS, &arena.addr(GATE).to_le_bytes());
    arena.put(STUBS + STUB_AREA_START as usize, &plan.stubs);
    for patch in &plan.patches {
        arena.put((patch.addr - arena.addr(TEXT)) as usize, &patch.bytes[..patch.len as usize]);
    }
    for (&args, &expected) in args.iter().zip(&expected) {
        let before = arena.calls();
        assert_eq!(arena.run(args), expected, "with {args:?}");
        assert_eq!(arena.calls() - before, calls, "calls with {args:?}");
    }
    coverage
}

const ANY: [[u64; 3]; 1] = [[1, 2, 3]];

#[test]
fn a_plain_wrapper() {
    let text = code! { "mov eax, 39" "syscall" "ret" };
    assert_eq!(compare(text, 1, &ANY).before_one, 1);
}

#[test]
fn a_leaf_function_keeps_its_red_zone() {
    let text = code! {
        "mov [rsp - 8], rdi" "mov [rsp - 128], rsi"
        "mov eax, 39" "syscall"
        "add rax, [rsp - 8]" "add rax, [rsp - 128]" "ret"
    };
    compare(text, 1, &[[10, 20, 0], [u64::MAX, 7, 0]]);
}

#[test]
fn all_other_registers_and_the_flags_survive() {
    // Sums up everything that a call must keep, carry and zero flag included.
    let text = code! {
        "push rbx" "push rbp" "push r12"
        "mov rbx, 1" "mov rbp, 2" "mov r12, 4" "mov r8, 8" "mov r9, 16" "mov r10, 32"
        "xor eax, eax" "stc" "mov eax, 39" "syscall"
        "setc al" "setz cl" "movzx eax, al" "movzx ecx, cl" "lea rax, [rax + 2*rcx]" "shl rax, 32"
        "add rax, rbx" "add rax, rbp" "add rax, r12" "add rax, r8" "add rax, r9" "add rax, r10"
        "add rax, rdi" "add rax, rsi" "add rax, rdx"
        "pop r12" "pop rbp" "pop rbx" "ret"
    };
    let coverage = compare(text, 1, &[[100, 200, 300]]);
    assert_eq!(coverage.before_one, 1);
}

#[test]
fn a_moved_instruction_still_reads_the_old_rcx() {
    // rt_sigprocmask(SIG_BLOCK, null, null, RCX): EINVAL unless RCX is 8.
    let text = code! {
        "mov rcx, rdi" "xor edi, edi" "xor esi, esi" "xor edx, edx"
        "mov eax, 14" "mov r10, rcx" "syscall" "ret"
    };
    assert_eq!(compare(text, 1, &[[8, 0, 0], [7, 0, 0]]).before_one, 1);
}

#[test]
fn a_short_load_of_the_number_goes_by_way_of_padding() {
    // read(-1, null, 0): EBADF.
    let text =
        code! { "mov rdi, -1" "xor eax, eax" "jmp 2f" "2: syscall" "ret" ".balign 32, 0xcc" "ret" };
    assert_eq!(compare(text, 1, &ANY).padding, 1);
}

#[test]
fn padding_before_the_site_does_as_well() {
    let text = code! {
        "jmp 3f" ".balign 16" "3: mov rdi, -1" "xor eax, eax" "jmp 2f" "2: syscall" "ret"
    };
    assert_eq!(compare(text, 1, &ANY).padding, 1);
}

#[test]
fn what_follows_the_site_runs_in_the_stub() {
    for (text, args) in [
        // Falls through, with a RIP-relative operand.
        (
            code! {
                "call 2f" "ret" ".balign 8" "3: .quad 0x1234" "ret"
                "2: mov rax, rdi" "syscall" "xor rax, [rip + 3b]" "inc rax" "ret"
            },
            [[39, 0, 0], [110, 0, 0]],
        ),
        // Branches or not.
        (
            code! {
                "call 2f" "ret"
                "2: mov rax, rdi" "syscall" "test eax, eax" "js 3f" "mov al, 1" "ret" "3: neg rax" "ret"
            },
            [[39, 0, 0], [3000, 0, 0]],
        ),
        // Ends in a jump.
        (
            code! {
                "call 2f" "ret"
                "2: mov rax, rdi" "syscall" "inc rax" "jmp 3f" "ud2" "3: add rax, rsi" "ret"
            },
            [[39, 5, 0], [110, 6, 0]],
        ),
        // Ends in a return.
        (
            code! { "call 2f" "ret" "2: mov rax, rdi" "syscall" "inc rax" "ret" },
            [[39, 0, 0], [110, 0, 0]],
        ),
    ] {
        let coverage = compare(text, 1, &args);
        assert_eq!(coverage, Coverage { after: 1, ..Coverage::default() }, "{text:x?}");
    }
}

#[test]
fn a_loop_instruction_is_moved() {
    let text = code! {
        "call 2f" "ret"
        "2: xor esi, esi"
        "3: mov rax, rdi" "syscall" "inc esi" "jrcxz 3b" "lea rax, [rax + rsi]" "ret"
    };
    assert_eq!(compare(text, 1, &[[39, 0, 0]]).after, 1);
}

#[test]
fn several_short_instructions_before_give_way() {
    let text = code! { "call 2f" "ret" "2: mov rax, rdi" "mov edi, esi" "syscall" "ret" };
    assert_eq!(compare(text, 1, &[[39, 0, 0], [32, 999, 0]]).before_several, 1);
}

#[test]
fn moved_instructions_reach_data_and_each_other() {
    let text = code! {
        "lea rdi, [rip + 2f]" "mov rax, [rip + 2f]" "sub rdi, rsi" "syscall" "ret"
        ".balign 64" "2: .quad 110"
    };
    assert_eq!(compare(text, 1, &ANY).before_one, 1);
}

#[test]
fn control_that_comes_in_behind_the_hole_takes_the_slow_way() {
    let text = code! {
        "mov eax, 110" "test edi, edi" "je 2f" "mov eax, 39" "2: syscall" "ret"
    };
    assert_eq!(compare(text, 1, &[[1, 0, 0]]).before_one, 1);
    assert_eq!(compare(text, 0, &[[0, 0, 0]]).before_one, 1);
}

#[test]
fn a_loop_over_a_site_and_a_neighbour() {
    let text = code! {
        "xor r8d, r8d" "mov r9d, 5"
        "2: mov eax, 39" "syscall" "add r8, rax"
        "mov eax, 110" "syscall" "add r8, rax"
        "dec r9d" "jne 2b" "mov rax, r8" "ret"
    };
    assert_eq!(compare(text, 10, &ANY).before_one, 2);
}

#[test]
fn back_to_back_sites() {
    // getpid, then whatever its result is the number of, then again: ENOSYS or not, the same both times.
    let text = code! { "mov eax, 3000" "syscall" "neg eax" "inc eax" "syscall" "mov eax, 39" "syscall" "ret" };
    let coverage = compare(text, 2, &ANY);
    assert_eq!((coverage.before_one, coverage.skipped), (2, 1));
}
