//! The stack that a program starts with (System V AMD64 ABI, section 3.4.1, with Linux's auxiliary vector).
//!
//! ```text
//! top      end marker: 8 zero bytes
//!          path of the program file, AT_EXECFN      \
//!          environment strings                       | NUL-terminated
//!          argument strings                          |
//!          platform string                          /
//!          16 random bytes
//!          padding
//!          auxiliary vector, AT_NULL last
//!          environment pointers, NULL
//!          argument pointers, NULL
//! rsp ->   argc                                      a multiple of 16
//! ```

use alloc::vec::Vec;

use margay_abi::layout::PAGE;

/// Linux's `AT_PLATFORM` on x86-64.
const PLATFORM: &[u8] = b"x86_64";
/// The longest single string: Linux's `MAX_ARG_STRLEN`.
const STRING_MAX: usize = 32 * PAGE as usize;
const END_MARKER: usize = 8;

/// Types of auxiliary-vector entries (`linux/auxvec.h`, x86 `asm/auxvec.h`).
#[allow(missing_docs, reason = "the names are Linux's own")]
pub mod at {
    pub const NULL: u64 = 0;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO_EHDR: u64 = 33;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// What a program is started with. Strings have no NUL at their end and none inside.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Path of the program file.
    pub execfn: &'a [u8],
    /// Arguments.
    pub argv: &'a [&'a [u8]],
    /// Environment.
    pub envp: &'a [&'a [u8]],
    /// Types (see [`at`]) and values, without `AT_RANDOM`, `AT_EXECFN`, `AT_PLATFORM` and `AT_NULL`, which are added.
    pub auxv: &'a [(u64, u64)],
    /// The bytes that `AT_RANDOM` points to.
    pub random: [u8; 16],
}

/// A stack, ready to be copied to `[rsp, rsp + bytes.len())`, which ends at the top of the stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// The stack pointer to start with.
    pub rsp: u64,
    /// What lies there.
    pub bytes: Vec<u8>,
}

/// The arguments and the environment are too long: Linux's `E2BIG`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("arguments and environment are too long: pass fewer, or give the program a larger stack")]
pub struct TooBig;

impl Start<'_> {
    /// Builds the stack below `top`, a multiple of 16, in at most `limit` bytes.
    ///
    /// # Errors
    /// [`TooBig`] if it does not fit, or if a string is longer than 128 KiB with its NUL.
    pub fn build(&self, top: u64, limit: u64) -> Result<Stack, TooBig> {
        let strings = || {
            let texts = self.argv.iter().chain(self.envp).copied();
            core::iter::once(PLATFORM).chain(texts).chain([self.execfn])
        };
        let string_bytes: usize = strings().map(|string| string.len() + 1).sum();
        let words = 1 + self.argv.len() + 1 + self.envp.len() + 1 + 2 * (self.auxv.len() + 4);
        let high_bytes = self.random.len() + string_bytes + END_MARKER;
        let used = (words * 8 + high_bytes) as u64;
        let size = used.next_multiple_of(16);
        if size > limit.min(top) || strings().any(|string| string.len() >= STRING_MAX) {
            return Err(TooBig);
        }

        let rsp = top - size;
        let random = top - high_bytes as u64;
        let mut text = random + self.random.len() as u64;
        let mut address = |string: &[u8]| {
            let this = text;
            text += string.len() as u64 + 1;
            this
        };
        let platform = address(PLATFORM);
        let argv: Vec<u64> = self.argv.iter().map(|string| address(string)).collect();
        let envp: Vec<u64> = self.envp.iter().map(|string| address(string)).collect();
        let execfn = address(self.execfn);

        let added =
            [(at::RANDOM, random), (at::EXECFN, execfn), (at::PLATFORM, platform), (at::NULL, 0)];
        let auxv = self.auxv.iter().chain(&added).flat_map(|&(kind, value)| [kind, value]);
        let table = core::iter::once(argv.len() as u64)
            .chain(argv)
            .chain([0])
            .chain(envp)
            .chain([0])
            .chain(auxv);

        let mut bytes = Vec::with_capacity(size as usize);
        table.for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.resize(size as usize - high_bytes, 0);
        bytes.extend_from_slice(&self.random);
        for string in strings() {
            bytes.extend_from_slice(string);
            bytes.push(0);
        }
        bytes.resize(size as usize, 0);
        Ok(Stack { rsp, bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{Start, TooBig, at};

    const TOP: u64 = 0x7000_0000;

    fn start<'a>(argv: &'a [&'a [u8]], envp: &'a [&'a [u8]]) -> Start<'a> {
        let auxv = &[(at::PAGESZ, 4096), (at::ENTRY, 0x40_1000)];
        Start { execfn: b"/bin/prog", argv, envp, auxv, random: *b"0123456789abcdef" }
    }

    /// Reads the stack back as a program's start code does.
    struct Reader {
        rsp: u64,
        bytes: Vec<u8>,
    }

    impl Reader {
        fn word(&self, index: usize) -> u64 {
            u64::from_le_bytes(self.bytes[index * 8..index * 8 + 8].try_into().unwrap())
        }

        fn string(&self, addr: u64) -> &[u8] {
            let rest = &self.bytes[(addr - self.rsp) as usize..];
            rest.split(|&byte| byte == 0).next().unwrap()
        }

        /// The strings from word `index` on, and the index behind their NULL.
        fn strings(&self, index: usize) -> (Vec<&[u8]>, usize) {
            let count = (index..).take_while(|&i| self.word(i) != 0).count();
            let strings = (index..index + count).map(|i| self.string(self.word(i))).collect();
            (strings, index + count + 1)
        }
    }

    #[test]
    fn start_code_finds_everything() {
        for extra in 0..3 {
            let argv: Vec<&[u8]> =
                [&b"prog"[..], b"", b"a b"].into_iter().cycle().take(3 + extra).collect();
            let envp: [&[u8]; 2] = [b"A=1", b"PATH=/bin"];
            let stack = start(&argv, &envp).build(TOP, 1 << 20).unwrap();
            assert!(stack.rsp.is_multiple_of(16));
            assert_eq!(stack.rsp + stack.bytes.len() as u64, TOP);

            let reader = Reader { rsp: stack.rsp, bytes: stack.bytes };
            assert_eq!(reader.word(0), argv.len() as u64);
            let (found, next) = reader.strings(1);
            assert_eq!(found, argv);
            let (found, next) = reader.strings(next);
            assert_eq!(found, envp);

            let auxv: Vec<(u64, u64)> = (next..)
                .step_by(2)
                .map(|i| (reader.word(i), reader.word(i + 1)))
                .take_while(|a| a.0 != at::NULL)
                .collect();
            assert_eq!(auxv[..2], [(at::PAGESZ, 4096), (at::ENTRY, 0x40_1000)]);
            let value = |kind| auxv.iter().find(|entry| entry.0 == kind).unwrap().1;
            assert_eq!(reader.string(value(at::EXECFN)), b"/bin/prog");
            assert_eq!(reader.string(value(at::PLATFORM)), b"x86_64");
            let random = (value(at::RANDOM) - reader.rsp) as usize;
            assert_eq!(&reader.bytes[random..random + 16], b"0123456789abcdef");
            assert_eq!(reader.bytes[reader.bytes.len() - 8..], [0; 8]);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let argv: [&[u8]; 1] = [b"prog"];
        let size = start(&argv, &[]).build(TOP, 1 << 20).unwrap().bytes.len() as u64;
        assert!(start(&argv, &[]).build(TOP, size).is_ok());
        assert_eq!(start(&argv, &[]).build(TOP, size - 1), Err(TooBig));
        let long = std::vec![b'x'; 128 << 10];
        assert_eq!(start(&[&long], &[]).build(TOP, 1 << 20), Err(TooBig));
        assert!(start(&[&long[1..]], &[]).build(TOP, 1 << 20).is_ok());
    }
}
