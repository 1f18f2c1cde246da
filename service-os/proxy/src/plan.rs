//! Rewrite plans on request: the memory around [`crate::rewrite`].

use margay_abi::Errno;
use margay_abi::layout::{HUGE_PAGE, USER_END};

use crate::mirror::Mirror;
use crate::range::Prot;
use crate::rewrite;

/// The longest text that is looked through. The copy of a longer one would cost more memory than any plan is worth.
const TEXT_LIMIT: u64 = 256 << 20;

/// The arguments of a `PLAN_REWRITE`; see [`margay_abi::rewrite`].
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest {
    text: u64,
    text_len: u64,
    stubs: u64,
    stubs_len: u64,
    plan: u64,
    plan_len: u64,
}

impl PlanRequest {
    /// As they stand in the request.
    pub const fn new([text, text_len, stubs, stubs_len, plan, plan_len]: [u64; 6]) -> Self {
        PlanRequest { text, text_len, stubs, stubs_len, plan, plan_len }
    }

    /// Whether the stubs lie in the program's addresses and all of them near all of the text.
    fn stubs_are_near(&self) -> bool {
        let (Some(text_end), Some(stubs_end)) =
            (self.text.checked_add(self.text_len), self.stubs.checked_add(self.stubs_len))
        else {
            return false;
        };
        let reach = text_end.max(stubs_end) - self.text.min(self.stubs);
        stubs_end <= USER_END && reach <= HUGE_PAGE
    }
}

/// Makes a plan and writes it where the request says. Returns its bytes.
///
/// # Errors
/// `EFAULT`: the text cannot be read or the plan's memory not be written. `EINVAL`: the text is too long, or the stub area out of
/// reach or in the way. `ENOMEM`: the plan does not fit its memory.
pub fn make(request: &PlanRequest, mirror: &Mirror) -> Result<u64, Errno> {
    if request.text_len > TEXT_LIMIT || !request.stubs_are_near() {
        return Err(Errno::EINVAL);
    }
    if !mirror.allows(request.text, request.text_len, Prot::READ)
        || !mirror.allows(request.plan, request.plan_len, Prot::WRITE)
    {
        return Err(Errno::EFAULT);
    }
    // A copy, because the program may write its text while the disassembler looks.
    let mut text = zeroed(request.text_len as usize)?;
    mirror.read_at(request.text, &mut text);
    let plan = rewrite::plan(&text, request.text, request.stubs, request.stubs_len)
        .map_err(|_| Errno::EINVAL)?;
    if plan.encoded_len() as u64 > request.plan_len {
        return Err(Errno::ENOMEM);
    }
    let mut encoded = zeroed(plan.encoded_len())?;
    let len = plan.write_to(&mut encoded).map_err(|_| Errno::ENOMEM)?;
    if mirror.write_at(request.plan, &encoded[..len]) { Ok(len as u64) } else { Err(Errno::EFAULT) }
}

/// `len` zero bytes, or `ENOMEM`: the length comes from the guest.
fn zeroed(len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}
