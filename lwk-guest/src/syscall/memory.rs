//! Memory calls, as far as they are more than [`lwk_core::space`].

use lwk_core::space::{MapFlags, Prot};
use margay_abi::Errno;
use margay_abi::calls::nr;
use margay_abi::layout::PAGE;

use super::{Result, delegate_checked};
use crate::arch::usercopy;
use crate::kernel::Kernel;

/// `mmap`. A private file mapping is memory that the file is read into, now; a shared one would have to be the file's own
/// pages, and is refused.
pub fn mmap(kernel: &'static Kernel, args: [u64; 6]) -> Result {
    let [addr, bytes, prot, flags, fd, offset] = args;
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let kind = MapFlags::from_bits_truncate(flags);
    if kind.contains(MapFlags::ANONYMOUS) {
        return kernel.memory.get().mmap(addr, bytes, prot, flags);
    }
    if kind & MapFlags::TYPE != MapFlags::PRIVATE {
        return Err(Errno::ENODEV);
    }
    // The descriptor's errors come before anything is changed.
    read_file(kernel, fd, 0, 0, offset)?;
    let range = kernel.memory.get().mmap_file(addr, bytes, flags)?;
    let read = read_file(kernel, fd, range.start, bytes, offset);
    let mut memory = kernel.memory.get();
    let done = read.and_then(|_| match Prot::from_bits_truncate(prot as u32) {
        prot if prot == Prot::READ | Prot::WRITE => Ok(()),
        prot => memory.mprotect(range.start, range.end - range.start, u64::from(prot.bits())),
    });
    if let Err(error) = done {
        memory.munmap(range.start, range.end - range.start)?;
        return Err(error);
    }
    Ok(range.start)
}

/// Reads `bytes` of the file at `offset` to the program's address `addr`, less if the file ends before. Returns the bytes
/// read.
pub fn read_file(kernel: &'static Kernel, fd: u64, addr: u64, bytes: u64, offset: u64) -> Result {
    let mut done = 0;
    loop {
        let args = [fd, addr + done, bytes - done, offset + done, 0, 0];
        let read = delegate_checked(kernel, nr::PREAD64, args)?;
        done += read;
        if read == 0 || done >= bytes {
            return Ok(done);
        }
    }
}

/// `mincore`.
pub fn mincore(kernel: &'static Kernel, addr: u64, bytes: u64, vector: u64) -> Result {
    const AT_ONCE: usize = 512;
    let pages = bytes.div_ceil(PAGE);
    let mut done = 0;
    while done < pages {
        let count = (pages - done).min(AT_ONCE as u64) as usize;
        let mut residency = [0; AT_ONCE];
        kernel.memory.get().mincore(addr + done * PAGE, &mut residency[..count])?;
        usercopy::write_bytes(vector.wrapping_add(done), &residency[..count])?;
        done += count as u64;
    }
    Ok(0)
}
