//! What the three parts of Margay must agree on: the LWK in the guest, the VMM and the proxy on Linux.
//!
//! Everything that one part writes and another reads is defined here once: where things lie in guest memory
//! ([`layout`]), what the VMM tells the LWK at boot ([`boot`]), the cache lines of a call channel ([`channel`]), the
//! doorbells ([`hypercall`]), the order of mapping changes ([`maplog`]), which system call goes where ([`calls`]),
//! what the LWK tells about itself ([`status`], [`stats`]) and the clock page of the vDSO ([`time`]).
//!
//! Rule for changes: the three parts are always built and shipped together, so there is no compatibility between
//! versions, only a check: [`boot::BootInfo::VERSION`] is raised whenever the layout or meaning of anything here changes,
//! and an LWK refuses to boot on another version.

#![no_std]
#![forbid(unsafe_code)]

pub mod boot;
pub mod calls;
pub mod channel;
pub mod errno;
pub mod hypercall;
pub mod layout;
pub mod maplog;
pub mod rewrite;
pub mod stats;
pub mod status;
pub mod time;

pub use errno::Errno;
