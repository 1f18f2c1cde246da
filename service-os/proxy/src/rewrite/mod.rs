//! Makes the plan by which the LWK turns `syscall` sites into jumps to its call gate, for *fused* mode.
//!
//! In fused mode a `syscall` costs microseconds, a jump nanoseconds. The LWK cannot disassemble, so it asks the proxy,
//! which sees the same memory: [`plan`] looks through a text and answers with changes and stubs
//! ([`margay_abi::rewrite`] has the contract). A site left alone merely stays slow, a wrong change corrupts the
//! program: every rule here is made for the second.
//!
//! [`sweep`] finds sites and targets, [`vicinity`] decodes around a site, [`choose`] picks the patch, asking
//! [`function`] what targets there may be, [`stub`] and [`relocate`] make the code. Nothing here writes to the program.
//!
//! Not covered: code that reads or writes its own instructions through computed addresses, and what
//! instruments functions at run time (XRay sleds, `-fpatchable-function-entry`).

mod choose;
mod function;
mod offsets;
mod relocate;
mod stub;
mod sweep;
#[cfg(test)]
mod tests;
mod vicinity;

use margay_abi::rewrite::{Patch, PlanHeader, STUB_AREA_START};

use choose::Chooser;
use stub::StubArea;
use sweep::{Sweep, Text};

/// After so many sites that cannot be patched the text is taken for no program, and the rest is skipped without a look:
/// bytes made for it must not cost minutes. C libraries have hundreds of sites, and a few that cannot be patched.
const MAX_SKIPPED: usize = 4096;
/// Bytes of a [`PlanHeader`] in a serialised plan.
const HEADER_BYTES: usize = size_of::<PlanHeader>();
/// Bytes of a [`Patch`] in a serialised plan.
const PATCH_RECORD_BYTES: usize = size_of::<Patch>();

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Jumps between text and stubs would not reach, or one of the two wraps around the address space.
    #[error("text and stub area are not within 2 GiB together: put the stubs nearer to the text")]
    TooFar,
    /// The stub area lies in the text.
    #[error("the stub area overlaps the text: put it elsewhere")]
    Overlap,
    /// Not even the gate's address fits.
    #[error("the stub area is smaller than {STUB_AREA_START} bytes: make it larger")]
    NoStubArea,
    /// The memory for the serialised plan is too small.
    #[error("the plan takes {needed} bytes and has room for {room}: give it more")]
    NoRoom {
        /// Bytes that the plan takes.
        needed: usize,
        /// Bytes that there are.
        room: usize,
    },
}

/// What to change in a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The counts.
    pub header: PlanHeader,
    /// The changes, none overlapping another, to be applied in this order once the stubs are in place.
    pub patches: Vec<Patch>,
    /// To be copied to `stubs_addr + STUB_AREA_START`.
    pub stubs: Vec<u8>,
}

/// Plans the rewriting of the executable memory `text`, which lies at `text_addr`, with stubs in the `stubs_len` bytes
/// at `stubs_addr`. The same arguments give the same plan.
///
/// Sites that find no room in the stub area are skipped.
///
/// # Errors
///
/// [`PlanError`], all but [`PlanError::NoRoom`], for places that no plan can be made for.
pub fn plan(
    text: &[u8],
    text_addr: u64,
    stubs_addr: u64,
    stubs_len: u64,
) -> Result<Plan, PlanError> {
    check_places(text_addr, text.len() as u64, stubs_addr, stubs_len)?;
    let text = Text { bytes: text, addr: text_addr };
    let sweep = Sweep::of(text);
    let mut chooser = Chooser::new(text, &sweep, StubArea::new(stubs_addr, stubs_len));
    let mut skipped = 0;
    for &site in &sweep.sites {
        if skipped >= MAX_SKIPPED || chooser.patch(site).is_none() {
            skipped += 1;
        }
    }
    let (patches, stubs) = chooser.finish();
    let header = PlanHeader {
        patches: count(patches.len()),
        stub_bytes: count(stubs.len()),
        sites: count(sweep.sites.len()),
        skipped: count(skipped),
    };
    Ok(Plan { header, patches, stubs })
}

/// A count of things in a text or a stub area.
fn count(things: usize) -> u32 {
    u32::try_from(things).expect("each takes a byte or more of at most 2 GiB")
}

/// Checks that every byte of text and stubs reaches every other by a 32-bit displacement.
fn check_places(
    text_addr: u64,
    text_len: u64,
    stubs_addr: u64,
    stubs_len: u64,
) -> Result<(), PlanError> {
    let text_end = text_addr.checked_add(text_len).ok_or(PlanError::TooFar)?;
    let stubs_end = stubs_addr.checked_add(stubs_len).ok_or(PlanError::TooFar)?;
    if text_end.max(stubs_end) - text_addr.min(stubs_addr) > i32::MAX as u64 {
        return Err(PlanError::TooFar);
    }
    if text_addr < stubs_end && stubs_addr < text_end {
        return Err(PlanError::Overlap);
    }
    if stubs_len < STUB_AREA_START {
        return Err(PlanError::NoStubArea);
    }
    Ok(())
}

impl Plan {
    /// Bytes that [`Plan::write_to`] writes.
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.patches.len() * PATCH_RECORD_BYTES + self.stubs.len()
    }

    /// Writes the plan as the LWK reads it: header, patches, stubs, in the machine's own layout. Returns the bytes
    /// written.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoRoom`], and nothing is written.
    pub fn write_to(&self, out: &mut [u8]) -> Result<usize, PlanError> {
        let needed = self.encoded_len();
        let room = out.len();
        let out = out.get_mut(..needed).ok_or(PlanError::NoRoom { needed, room })?;
        let (head, rest) = out.split_at_mut(HEADER_BYTES);
        let PlanHeader { patches, stub_bytes, sites, skipped } = self.header;
        for (field, value) in head.chunks_exact_mut(4).zip([patches, stub_bytes, sites, skipped]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        let (records, stubs) = rest.split_at_mut(self.patches.len() * PATCH_RECORD_BYTES);
        for (record, patch) in records.chunks_exact_mut(PATCH_RECORD_BYTES).zip(&self.patches) {
            let Patch { addr, len, pad, bytes } = *patch;
            record[..8].copy_from_slice(&addr.to_le_bytes());
            record[8..12].copy_from_slice(&len.to_le_bytes());
            record[12..16].copy_from_slice(&pad.to_le_bytes());
            record[16..].copy_from_slice(&bytes);
        }
        stubs.copy_from_slice(&self.stubs);
        Ok(needed)
    }
}
