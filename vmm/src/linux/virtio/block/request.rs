//! One request (5.2.6): a header and perhaps data from the driver, then perhaps data and a status byte to it.

use std::io::{self, Read, Write};

use virtio_queue::{Reader, Writer};
use vm_memory::GuestMemoryMmap;

use super::SECTOR;
use super::image::{DiskAccess, Image};
use crate::linux::virtio::ring::Chain;

/// Kinds of requests (5.2.6).
mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
}

/// Status bytes (5.2.6).
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Bytes of the answer to [`kind::GET_ID`].
const ID_LEN: usize = 20;
/// Bytes that are copied at a time.
const PART: usize = 128 << 10;

/// Executes requests on an image.
pub(super) struct Worker {
    image: Image,
    id: [u8; ID_LEN],
    /// Data on its way between guest and image: [`PART`] bytes.
    part: Box<[u8]>,
}

/// Why a request fails: nothing that the VMM should know.
enum Failure {
    Io,
    Unsupported,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Io
    }
}

impl Worker {
    /// One for an image; of `id` the first 20 bytes count.
    pub fn new(image: Image, id: &str) -> Worker {
        let mut padded = [0; ID_LEN];
        let len = id.len().min(ID_LEN);
        padded[..len].copy_from_slice(&id.as_bytes()[..len]);
        Worker { image, id: padded, part: vec![0; PART].into_boxed_slice() }
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Executes a request: how many bytes it wrote to the guest. A request without room for a status gets none.
    pub fn execute(&mut self, memory: &GuestMemoryMmap, chain: Chain) -> u32 {
        let (reader, writer) = (chain.clone().reader(memory), chain.writer(memory));
        let (Ok(reader), Ok(mut data)) = (reader, writer) else { return 0 };
        let Some(data_len) = data.available_bytes().checked_sub(1) else { return 0 };
        let Ok(mut status) = data.split_at(data_len) else { return 0 };
        let outcome = match self.perform(reader, &mut data) {
            Ok(()) => OK,
            Err(Failure::Io) => IO_ERROR,
            Err(Failure::Unsupported) => UNSUPPORTED,
        };
        let written = status.write(&[outcome]).unwrap_or(0);
        (data.bytes_written() + written) as u32
    }

    /// The header is `type`, a reserved word, and `sector`; all little-endian.
    fn perform(&mut self, mut reader: Reader<'_>, writer: &mut Writer<'_>) -> Result<(), Failure> {
        let (mut kind, mut reserved, mut sector) = ([0; 4], [0; 4], [0; 8]);
        reader.read_exact(&mut kind)?;
        reader.read_exact(&mut reserved)?;
        reader.read_exact(&mut sector)?;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes(kind) {
            kind::IN => self.read(sector, writer),
            kind::OUT => self.write(sector, &mut reader),
            kind::FLUSH => Ok(self.image.flush()?),
            kind::GET_ID => Ok(writer.write_all(&self.id)?),
            _ => Err(Failure::Unsupported),
        }
    }

    fn read(&mut self, sector: u64, writer: &mut Writer<'_>) -> Result<(), Failure> {
        let (mut at, end) = self.range(sector, writer.available_bytes())?;
        while at < end {
            let part = next_part(&mut self.part, at, end);
            self.image.read(part, at)?;
            writer.write_all(part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, reader: &mut Reader<'_>) -> Result<(), Failure> {
        if self.image.access() == DiskAccess::ReadOnly {
            return Err(Failure::Io);
        }
        let (mut at, end) = self.range(sector, reader.available_bytes())?;
        while at < end {
            let part = next_part(&mut self.part, at, end);
            reader.read_exact(part)?;
            self.image.write(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// The bytes of the image that a request is about: whole sectors within it.
    fn range(&self, sector: u64, len: usize) -> Result<(u64, u64), Failure> {
        let len = len as u64;
        let start = sector.checked_mul(SECTOR).ok_or(Failure::Io)?;
        let end = start.checked_add(len).ok_or(Failure::Io)?;
        if !len.is_multiple_of(SECTOR) || end > self.image.len() {
            Err(Failure::Io)
        } else {
            Ok((start, end))
        }
    }
}

/// As much of `part` as is left of a range.
fn next_part(part: &mut [u8], at: u64, end: u64) -> &mut [u8] {
    let len = (end - at).min(part.len() as u64) as usize;
    &mut part[..len]
}
