//! The header of a packet (5.10.6), as bytes and as a value.

use super::{GUEST_CID, HOST_CID};

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 44;

/// Stream sockets (5.10.6, `VIRTIO_VSOCK_TYPE_STREAM`).
pub(super) const STREAM: u16 = 1;

/// What a packet asks for (5.10.6, `virtio_vsock_op`).
pub(super) mod op {
    /// No connection takes it.
    pub const INVALID: u16 = 0;
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RST: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const RW: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flags of [`op::SHUTDOWN`]: what its sender does no more (5.10.6.5).
pub(super) mod shutdown {
    pub const RECEIVE: u32 = 1;
    pub const SEND: u32 = 2;
}

/// `virtio_vsock_hdr`. All numbers are little-endian in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    /// Bytes of payload after the header.
    pub len: u32,
    /// [`STREAM`], or what the device does not know.
    pub kind: u16,
    /// One of [`op`].
    pub op: u16,
    /// Of [`shutdown`].
    pub flags: u32,
    /// Bytes that the sender can store for the connection.
    pub buf_alloc: u32,
    /// Bytes that the sender has passed on, ever; it wraps.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header. All values are possible.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Header {
        let mut rest = bytes.as_slice();
        Header {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// The header as the driver reads it.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, self.src_cid.to_le_bytes());
        put(&mut rest, self.dst_cid.to_le_bytes());
        put(&mut rest, self.src_port.to_le_bytes());
        put(&mut rest, self.dst_port.to_le_bytes());
        put(&mut rest, self.len.to_le_bytes());
        put(&mut rest, self.kind.to_le_bytes());
        put(&mut rest, self.op.to_le_bytes());
        put(&mut rest, self.flags.to_le_bytes());
        put(&mut rest, self.buf_alloc.to_le_bytes());
        put(&mut rest, self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// A packet from a port of the host to one of the guest, without payload or credit.
    pub fn to_guest(host_port: u32, guest_port: u32, op: u16) -> Header {
        let (src_cid, dst_cid) = (HOST_CID, GUEST_CID);
        Header {
            src_cid,
            dst_cid,
            src_port: host_port,
            dst_port: guest_port,
            kind: STREAM,
            op,
            ..Header::default()
        }
    }

    /// The refusal of this packet.
    pub fn reset(&self) -> Header {
        Header {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: op::RST,
            ..Header::default()
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_first_chunk().expect("the fields' sizes add up to the header's");
    *rest = tail;
    *head
}

fn put<const N: usize>(rest: &mut &mut [u8], value: [u8; N]) {
    let (head, tail) = std::mem::take(rest)
        .split_first_chunk_mut()
        .expect("the fields' sizes add up to the header's");
    *head = value;
    *rest = tail;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of Linux's `struct virtio_vsock_hdr`.
    #[test]
    fn a_header_is_laid_out_as_the_specification_says() {
        let bytes: [u8; HEADER_LEN] = std::array::from_fn(|at| at as u8);
        let header = Header::parse(&bytes);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!((header.src_port, header.dst_port), (0x1312_1110, 0x1716_1514));
        assert_eq!((header.len, header.kind, header.op), (0x1b1a_1918, 0x1d1c, 0x1f1e));
        assert_eq!(
            (header.flags, header.buf_alloc, header.fwd_cnt),
            (0x2322_2120, 0x2726_2524, 0x2b2a_2928)
        );
        assert_eq!(header.to_bytes(), bytes);
    }
}
