//! The doorbells: I/O ports that a write (`out dx, eax`, 32 bits) makes the guest leave for the VMM.
//!
//! Port I/O, not `vmcall`: it exits to the VMM under every KVM, from CPL 0 and, with IOPL 3, from CPL 3 too.

/// First port, a multiple of 8. The range is not used by any PC device.
pub const BASE: u16 = 0x4d00;
/// One past the last port, a multiple of 8.
pub const END: u16 = BASE + 24;

/// What a write to a port asks of the VMM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Hypercall {
    /// Value: a channel's index. Relay the request in the channel's ring to the proxy and come back when its reply is
    /// there: a delegated call over the hypercall path.
    Call = BASE,
    /// Value: a channel's index. Wake the proxy thread of this channel: bound to an ioeventfd, so that the
    /// guest leaves only as far as the kernel.
    Doorbell = BASE + 4,
    /// Value: ignored. The LWK is done; it does not expect to run again.
    Shutdown = BASE + 8,
    /// Value: ignored. The LWK cannot go on: its reason is in the status page.
    Panic = BASE + 12,
    /// Value: bytes. Print that many bytes of the status page's log buffer.
    Log = BASE + 16,
    /// Value: ignored. Come straight back: the cost of an exit, for measurements.
    Nothing = BASE + 20,
}

impl Hypercall {
    /// All hypercalls.
    pub const ALL: [Hypercall; 6] = [
        Hypercall::Call,
        Hypercall::Doorbell,
        Hypercall::Shutdown,
        Hypercall::Panic,
        Hypercall::Log,
        Hypercall::Nothing,
    ];

    /// The port to write to.
    pub const fn port(self) -> u16 {
        self as u16
    }

    /// The hypercall of a port, if it is one.
    pub fn from_port(port: u16) -> Option<Hypercall> {
        Self::ALL.into_iter().find(|call| call.port() == port)
    }
}

/// The interrupt vector by which a proxy wakes a halted LWK core, and by which the VMM asks a running one for a sign of life
/// ([`crate::layout::PULSE`]).
pub const WAKE_VECTOR: u8 = 0x40;
