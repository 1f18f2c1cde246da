//! Message-signalled interrupts (PCI Local Bus 3.0, 6.8.2): the table that a guest fills with messages, and their sending.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;

/// Bytes of a table entry.
pub const ENTRY_BYTES: u64 = 16;
/// Capability id.
pub const CAPABILITY: u8 = 0x11;
/// Message control: MSI-X is used.
const ENABLE: u16 = 1 << 15;
/// Message control: all vectors are masked.
const MASK_ALL: u16 = 1 << 14;
/// Vector control: this vector is masked. All are, at first.
const MASKED: u32 = 1;

/// Who delivers messages to processors.
pub trait Messages: Send + Sync {
    /// Writes `data` to `address`, as the device would.
    fn send(&self, address: u64, data: u32);
}

impl Messages for VmFd {
    fn send(&self, address: u64, data: u32) {
        let message = kvm_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        // A guest that names a processor it does not have loses the interrupt, as on hardware.
        let _ = self.signal_msi(message);
    }
}

/// The vectors of one function.
pub struct Msix<M> {
    messages: M,
    state: Mutex<State>,
}

struct State {
    control: u16,
    vectors: Vec<Vector>,
}

#[derive(Clone, Copy)]
struct Vector {
    address: u64,
    data: u32,
    control: u32,
    pending: bool,
}

impl<M: std::ops::Deref<Target: Messages>> Msix<M> {
    /// `vectors` masked vectors, at most 2048.
    pub fn new(messages: M, vectors: usize) -> Msix<M> {
        let vector = Vector { address: 0, data: 0, control: MASKED, pending: false };
        let state = State { control: 0, vectors: vec![vector; vectors] };
        Msix { messages, state: Mutex::new(state) }
    }

    /// How many vectors there are.
    pub fn vectors(&self) -> usize {
        self.lock().vectors.len()
    }

    /// Interrupts by `vector`; later, if it is masked. A vector that is not there is ignored.
    pub fn signal(&self, vector: u16) {
        let mut state = self.lock();
        let open = state.control & (ENABLE | MASK_ALL) == ENABLE;
        let Some(vector) = state.vectors.get_mut(usize::from(vector)) else { return };
        if open && vector.control & MASKED == 0 {
            self.messages.send(vector.address, vector.data);
        } else {
            vector.pending = true;
        }
    }

    /// The guest has written the message control register.
    pub fn set_control(&self, control: u16) {
        let mut state = self.lock();
        state.control = control & (ENABLE | MASK_ALL);
        self.send_pending(&mut state);
    }

    /// Reads the table at `offset`.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        let state = self.lock();
        let (index, within) = ((offset / ENTRY_BYTES) as usize, (offset % ENTRY_BYTES) as usize);
        let bytes = state.vectors.get(index).map_or([0; 16], |vector| vector.to_bytes());
        copy_from(&bytes[within..], data);
    }

    /// Writes the table at `offset`. Only aligned accesses of 4 and 8 bytes are defined, and served.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let mut state = self.lock();
        let (index, within) = ((offset / ENTRY_BYTES) as usize, (offset % ENTRY_BYTES) as usize);
        let Some(vector) = state.vectors.get_mut(index) else { return };
        if matches!(data.len(), 4 | 8) && within.is_multiple_of(data.len()) {
            let mut bytes = vector.to_bytes();
            bytes[within..within + data.len()].copy_from_slice(data);
            vector.set_bytes(bytes);
            self.send_pending(&mut state);
        }
    }

    /// Reads the pending bits at `offset`.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let state = self.lock();
        for (at, byte) in (offset..).zip(data) {
            let eight = state.vectors.chunks(8).nth(at as usize).unwrap_or(&[]);
            let bits = eight.iter().enumerate().map(|(bit, v)| u8::from(v.pending) << bit);
            *byte = bits.sum();
        }
    }

    fn send_pending(&self, state: &mut State) {
        if state.control & (ENABLE | MASK_ALL) != ENABLE {
            return;
        }
        for vector in state.vectors.iter_mut().filter(|v| v.pending && v.control & MASKED == 0) {
            vector.pending = false;
            self.messages.send(vector.address, vector.data);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No statement that can panic leaves the table half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vector {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.data.to_le_bytes());
        bytes[12..].copy_from_slice(&self.control.to_le_bytes());
        bytes
    }

    fn set_bytes(&mut self, bytes: [u8; 16]) {
        let value = u128::from_le_bytes(bytes);
        self.address = value as u64;
        self.data = (value >> 64) as u32;
        self.control = (value >> 96) as u32 & MASKED;
    }
}

/// Copies what `from` has; the rest of `data` becomes zero.
fn copy_from(from: &[u8], data: &mut [u8]) {
    data.fill(0);
    let length = from.len().min(data.len());
    data[..length].copy_from_slice(&from[..length]);
}

#[cfg(test)]
mod tests {
    use super::{Messages, Msix};
    use proptest::prelude::{any, proptest};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Sent(Mutex<Vec<(u64, u32)>>);

    impl Messages for Sent {
        fn send(&self, address: u64, data: u32) {
            self.0.lock().unwrap().push((address, data));
        }
    }

    fn msix() -> (Arc<Sent>, Msix<Arc<Sent>>) {
        let sent = Arc::new(Sent::default());
        (Arc::clone(&sent), Msix::new(sent, 3))
    }

    fn taken(sent: &Sent) -> Vec<(u64, u32)> {
        std::mem::take(&mut sent.0.lock().unwrap())
    }

    fn fill(msix: &Msix<Arc<Sent>>, vector: u64, control: u32) {
        msix.write_table(vector * 16, &0xfee0_1000_u64.to_le_bytes());
        msix.write_table(vector * 16 + 8, &(0x40 + vector as u32).to_le_bytes());
        msix.write_table(vector * 16 + 12, &control.to_le_bytes());
    }

    #[test]
    fn an_open_vector_sends_its_message() {
        let (sent, msix) = msix();
        fill(&msix, 1, 0);
        msix.signal(1);
        assert_eq!(taken(&sent), [], "MSI-X is not enabled");
        msix.set_control(1 << 15);
        assert_eq!(taken(&sent), [(0xfee0_1000, 0x41)], "what was pending comes now");
        msix.signal(1);
        assert_eq!(taken(&sent), [(0xfee0_1000, 0x41)]);
        msix.signal(0);
        msix.signal(3);
        msix.signal(0xffff);
        assert_eq!(taken(&sent), []);
    }

    #[test]
    fn masked_vectors_are_pending_until_unmasked() {
        let (sent, msix) = msix();
        msix.set_control(1 << 15);
        fill(&msix, 2, 1);
        msix.signal(2);
        let mut pending = [0xff; 8];
        msix.read_pending(0, &mut pending);
        assert_eq!(pending, [4, 0, 0, 0, 0, 0, 0, 0]);
        fill(&msix, 2, 0);
        assert_eq!(taken(&sent), [(0xfee0_1000, 0x42)]);
        msix.set_control(1 << 15 | 1 << 14);
        msix.signal(2);
        assert_eq!(taken(&sent), []);
        msix.set_control(1 << 15);
        assert_eq!(taken(&sent).len(), 1);
    }

    proptest! {
        #[test]
        fn any_access_is_survived(accesses in proptest::collection::vec((any::<u64>(), 0..80_u64, any::<[u8; 8]>(), 0..=8_usize), 0..50)) {
            let (_, msix) = msix();
            for (far, near, data, length) in accesses {
                for at in [far, near] {
                    msix.write_table(at, &data[..length]);
                    msix.read_table(at, &mut { data }[..length]);
                    msix.read_pending(near, &mut { data }[..length]);
                    msix.signal(at as u16);
                }
                msix.set_control(far as u16);
            }
        }
    }
}
