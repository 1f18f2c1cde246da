//! The configuration space of one function (PCI Local Bus 3.0, 6.1).

/// Bytes of it that configuration mechanism 1 reaches.
pub const BYTES: usize = 256;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
/// First byte behind the header: where capabilities begin.
const HEADER_END: usize = 0x40;

/// Command register: the function answers to its memory window.
const MEMORY_ENABLE: u8 = 1 << 1;
/// Command register: memory decoding, bus mastering, interrupt disable. The rest is for hardware that we do not have.
const COMMAND_WRITABLE: u16 = 1 << 1 | 1 << 2 | 1 << 10;
/// Status register: there is a list of capabilities.
const HAS_CAPABILITIES: u8 = 1 << 4;

/// Who a function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor and device.
    pub id: (u16, u16),
    /// Vendor and device of the subsystem.
    pub subsystem: (u16, u16),
    /// Class, subclass, programming interface.
    pub class: [u8; 3],
    /// Revision.
    pub revision: u8,
}

/// A configuration space with at most one window: base address register 0, memory of 32 bits, not prefetchable.
///
/// The window's address is ours: a guest that writes another reads back that it did not take, which the specification lets a
/// function do, and every kernel keeps what it finds assigned without conflict.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: [u8; BYTES],
    /// Bits that the guest may change.
    writable: [u8; BYTES],
    window: Option<Window>,
    /// The guest has asked for the window's size and not yet written an address.
    sizing: bool,
    last_capability: usize,
    end: usize,
}

/// Where in the memory window of the root bridge a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// First address, a multiple of the size.
    pub start: u32,
    /// Bytes, a power of two and at least 16.
    pub bytes: u32,
}

impl ConfigSpace {
    /// The space of a function with `window`.
    pub fn new(identity: Identity, window: Option<Window>) -> ConfigSpace {
        let mut space = ConfigSpace {
            bytes: [0; BYTES],
            writable: [0; BYTES],
            window,
            sizing: false,
            last_capability: CAPABILITIES,
            end: HEADER_END,
        };
        space.put(0x00, &identity.id.0.to_le_bytes());
        space.put(0x02, &identity.id.1.to_le_bytes());
        let [class, subclass, interface] = identity.class;
        space.put(0x08, &[identity.revision, interface, subclass, class]);
        space.put(0x2c, &identity.subsystem.0.to_le_bytes());
        space.put(0x2e, &identity.subsystem.1.to_le_bytes());
        space.writable[COMMAND..STATUS].copy_from_slice(&COMMAND_WRITABLE.to_le_bytes());
        // Cache line size and interrupt line hold what software puts there.
        space.writable[0x0c] = 0xff;
        space.writable[0x3c] = 0xff;
        if let Some(window) = window {
            space.put(BAR0, &window.start.to_le_bytes());
        }
        space
    }

    /// Adds a capability of `body` (what follows its id and link), of which the guest may change the bits in `writable`.
    /// Returns the offset of the capability.
    ///
    /// # Panics
    /// If the capabilities do not fit: they are constants.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> usize {
        let at = self.end;
        let next = (at + 2 + body.len()).next_multiple_of(4);
        assert!(next <= BYTES && writable.len() == body.len(), "capabilities do not fit");
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.writable[at + 2..][..writable.len()].copy_from_slice(writable);
        let link = if self.last_capability == CAPABILITIES { 0 } else { 1 };
        self.bytes[self.last_capability + link] = at as u8;
        self.bytes[STATUS] |= HAS_CAPABILITIES;
        (self.last_capability, self.end) = (at, next);
        at
    }

    /// Reads `data.len()` bytes at `offset`; what lies past the end reads as ones.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.byte(at);
        }
    }

    /// Writes `data` at `offset`: the bits that may be written.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        for (at, &value) in (offset..).zip(data) {
            if let Some(byte) = self.bytes.get_mut(at) {
                let writable = self.writable[at];
                *byte = *byte & !writable | value & writable;
            }
        }
        let touches_window = offset < BAR0 + 4 && offset + data.len() > BAR0;
        if touches_window {
            self.sizing = data.iter().all(|&byte| byte == 0xff);
        }
    }

    /// The function's window, while it answers to it.
    pub fn decoded(&self) -> Option<Window> {
        self.window.filter(|_| self.bytes[COMMAND] & MEMORY_ENABLE != 0)
    }

    /// The 16 bits at `offset`, which is one of ours.
    pub fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]])
    }

    /// The 32 bits at `offset`, which is one of ours.
    pub fn dword(&self, offset: usize) -> u32 {
        u32::from(self.word(offset)) | u32::from(self.word(offset + 2)) << 16
    }

    fn byte(&self, at: usize) -> u8 {
        match (at.checked_sub(BAR0), self.window) {
            (Some(index @ 0..4), Some(window)) if self.sizing => {
                (!(window.bytes - 1)).to_le_bytes()[index]
            }
            _ => self.bytes.get(at).copied().unwrap_or(0xff),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, ConfigSpace, Identity, Window};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    const WINDOW: Window = Window { start: 0xc000_8000, bytes: 0x8000 };

    fn space() -> ConfigSpace {
        let identity = Identity {
            id: (0x1af4, 0x1044),
            subsystem: (0x1af4, 0x44),
            class: [0, 0xff, 0],
            revision: 1,
        };
        let mut space = ConfigSpace::new(identity, Some(WINDOW));
        space.add_capability(9, &[1, 2, 3], &[0, 0, 0]);
        space.add_capability(0x11, &[0; 10], &[0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0]);
        space
    }

    fn dword(space: &ConfigSpace, at: usize) -> u32 {
        let mut data = [0; 4];
        space.read(at, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn sizing_follows_the_specification() {
        let mut space = space();
        space.write(0x10, &[0xff; 4]);
        assert_eq!(dword(&space, 0x10), 0xffff_8000);
        space.write(0x10, &0xc000_8000_u32.to_le_bytes());
        assert_eq!(dword(&space, 0x10), 0xc000_8000);
        space.write(0x10, &0xd000_0000_u32.to_le_bytes());
        assert_eq!(dword(&space, 0x10), 0xc000_8000, "the window cannot be moved");
        space.write(0x14, &[0xff; 4]);
        assert_eq!(dword(&space, 0x14), 0, "there is no second window");
    }

    #[test]
    fn the_window_answers_when_enabled() {
        let mut space = space();
        assert_eq!(space.decoded(), None);
        space.write(0x04, &[0xff, 0xff]);
        assert_eq!(space.decoded(), Some(WINDOW));
        assert_eq!(space.word(4), 0x0406);
    }

    #[test]
    fn capabilities_are_linked() {
        let space = space();
        assert_eq!(dword(&space, 0x34) as u8, 0x40);
        assert_eq!(dword(&space, 0x40), 0x0201_4809);
        assert_eq!(dword(&space, 0x48) & 0xffff, 0x0011);
        assert_ne!(space.word(6) & 0x10, 0);
    }

    proptest! {
        #[test]
        fn no_write_changes_who_the_function_is(writes in proptest::collection::vec((0..BYTES + 8, any::<[u8; 4]>(), 0..=4_usize), 0..60)) {
            let mut changed = space();
            for (at, data, length) in writes {
                changed.write(at, &data[..length]);
                changed.read(at, &mut [0; 4]);
            }
            for at in [0x00, 0x08, 0x2c, 0x34, 0x40] {
                prop_assert_eq!(dword(&changed, at), dword(&space(), at));
            }
        }
    }
}
