//! Machine code for tests, written as assembly.

/// The bytes of some assembly, position-independent, as a `&'static [u8]`.
macro_rules! code {
    ($($line:literal)*) => {{
        let (start, end): (*const u8, *const u8);
        // SAFETY: the instructions that run only load two addresses; the code itself goes elsewhere.
        unsafe {
            std::arch::asm!(
                "lea {start}, [rip + 770f]",
                "lea {end}, [rip + 771f]",
                // A section of code, so that the assembler pads with `nop`s.
                ".pushsection .text.margay_test_code, \"ax\", @progbits",
                ".balign 64",
                "770:",
                $($line,)*
                "771:",
                ".popsection",
                start = out(reg) start,
                end = out(reg) end,
                options(nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: both labels are in one section of this program, the first before the second, with initialised bytes
        // between that nothing ever writes.
        unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
    }};
}
pub(super) use code;
