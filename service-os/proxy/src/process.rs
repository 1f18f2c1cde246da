//! What a request means.

use margay_abi::Errno;
use margay_abi::calls::{self, nr, private};
use margay_abi::maplog::MapLog;
use margay_channel::{Reply, Request};

use crate::error::ProxyError;
use crate::exe::{Exe, Redirected};
use crate::guard::{self, Admitted, Reserved};
use crate::guest::GuestMemory;
use crate::mirror::Mirror;
use crate::plan::{self, PlanRequest};
use crate::signals::ParentTies;
use crate::{raw, signals};

/// The LWK process as Linux sees it: what all its threads' channels have in common.
#[derive(Debug)]
pub struct Process {
    log: &'static MapLog,
    mirror: Mirror,
    reserved: Reserved,
    exe: Exe,
    ties: ParentTies,
}

impl Process {
    /// A process that has nothing mapped yet.
    pub fn new(memory: GuestMemory, log: &'static MapLog, reserved: Reserved, exe: Exe) -> Process {
        Process { log, mirror: Mirror::new(memory), reserved, exe, ties: ParentTies::now() }
    }

    /// Does what a request asks.
    ///
    /// # Errors
    /// The guest broke the protocol, or its memory cannot be followed any more.
    #[inline]
    pub fn serve(&mut self, request: &Request) -> Result<Reply, ProxyError> {
        self.mirror.catch_up(self.log, request.map_seq)?;
        let Some(call) = calls::lookup(request.nr.into()) else {
            return Ok(Reply { ret: self.private(request)?, signals: 0 });
        };
        let ret = match guard::admit(self.reserved, call, request.args) {
            Ok(call) => self.make(call),
            Err(errno) => errno.as_return(),
        };
        let signals = match Errno::from_return(ret) {
            Some(Errno(libc::EPIPE | libc::EFBIG)) => signals::raised(),
            _ => 0,
        };
        Ok(Reply { ret, signals })
    }

    #[inline]
    fn make(&self, call: Admitted) -> u64 {
        if call.nr() == nr::CLOSE_RANGE {
            return self.close_range(call);
        }
        let ret = match self.exe.redirect(call, &self.mirror) {
            Redirected::Call(call) => raw::call(&call),
            Redirected::Done(ret) => ret,
        };
        if nr::changes_credentials(call.nr()) {
            self.ties.renew();
        }
        ret
    }

    /// The first error, or 0.
    fn close_range(&self, call: Admitted) -> u64 {
        let parts = guard::split_close_range(self.reserved, call);
        let results = parts.iter().flatten().map(raw::call);
        results.fold(0, |first, ret| if first == 0 { ret } else { first })
    }

    #[cold]
    fn private(&self, request: &Request) -> Result<u64, ProxyError> {
        let [first, second, ..] = request.args;
        match request.nr {
            private::SYNC => Ok(0),
            private::PLAN_REWRITE => Ok(plan::make(&PlanRequest::new(request.args), &self.mirror)
                .unwrap_or_else(Errno::as_return)),
            private::EXIT => raw::exit((first & 0xff) as i32),
            private::DIE => Err(signals::die_by(first)),
            private::SET_IGNORED => Ok(match signals::set_ignored(first, second) {
                Ok(()) => 0,
                Err(_) => Errno::EINVAL.as_return(),
            }),
            _ => Ok(Errno::ENOSYS.as_return()),
        }
    }
}
