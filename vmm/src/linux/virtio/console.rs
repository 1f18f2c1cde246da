//! virtio-console (virtio 1.2, 5.3) with one port: `/dev/hvc0` of the guest.
//!
//! Output goes to a sink that must not block, since a vCPU may be the one that writes; what the sink does not take is lost,
//! as on a serial line that nobody reads.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use virtio_queue::Reader;

use super::device::{Activation, VirtioDevice};
use super::gate::Gate;
use super::ring::{Ring, read_config};

/// Device type (virtio 1.2, section 5).
const DEVICE_TYPE: u32 = 3;
/// Queues of port 0 (5.3.2).
const RX: usize = 0;
const TX: usize = 1;
const QUEUE_SIZES: [u16; 2] = [64, 64];
/// Bytes that are copied at a time.
const PART: usize = 4096;

/// A console.
pub struct ConsoleDevice {
    sink: Box<dyn Write + Send>,
    input: Option<Input>,
    queues: Option<Queues>,
}

/// Where input comes from. At its end the gate stays closed.
struct Input {
    gate: Gate,
    ended: bool,
}

struct Queues {
    rx: Ring,
    tx: Ring,
}

impl ConsoleDevice {
    /// A console that writes to `sink` and, if there is an `input`, reads from that. The input's open file becomes
    /// non-blocking, which all its descriptors share.
    ///
    /// # Errors
    /// The input cannot be waited for: it is a regular file or a directory (EPERM).
    pub fn new(sink: Box<dyn Write + Send>, input: Option<OwnedFd>) -> io::Result<ConsoleDevice> {
        let input = match input {
            None => None,
            Some(fd) => {
                super::sys::set_nonblocking(fd.as_fd())?;
                Some(Input { gate: Gate::new(File::from(fd))?, ended: false })
            }
        };
        Ok(ConsoleDevice { sink, input, queues: None })
    }

    fn write_output(&mut self) {
        let Some(Queues { tx, .. }) = &mut self.queues else { return };
        let memory = tx.memory();
        let mut part = [0; PART];
        while let Some(chain) = tx.pop() {
            let head = chain.head_index();
            let mut reader: Option<Reader<'_>> = chain.reader(&memory).ok();
            while let Some(len @ 1..) =
                reader.as_mut().and_then(|reader| reader.read(&mut part).ok())
            {
                // The sink's loss, not the guest's.
                let _ = self.sink.write_all(&part[..len]);
            }
            tx.finish(head, 0);
        }
        let _ = self.sink.flush();
        tx.notify();
    }

    fn read_input(&mut self) {
        let (Some(Queues { rx, .. }), Some(input)) = (&mut self.queues, &mut self.input) else {
            return;
        };
        let memory = rx.memory();
        let mut part = [0; PART];
        while !input.ended {
            let Some(chain) = rx.pop() else {
                input.gate.close();
                break;
            };
            let head = chain.head_index();
            let Some(mut writer) =
                chain.writer(&memory).ok().filter(|writer| writer.available_bytes() > 0)
            else {
                rx.finish(head, 0);
                continue;
            };
            let room = writer.available_bytes().min(PART);
            match input.gate.file().read(&mut part[..room]) {
                Ok(len @ 1..) => {
                    // It fits: the room was asked for.
                    let _ = writer.write_all(&part[..len]);
                    rx.finish(head, len as u32);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => input.end(),
            }
            rx.put_back();
            break;
        }
        rx.notify();
    }
}

impl Input {
    fn end(&mut self) {
        self.ended = true;
        self.gate.close();
    }

    fn open(&mut self) {
        if !self.ended {
            self.gate.open();
        }
    }
}

impl VirtioDevice for ConsoleDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    /// Neither a size nor several ports.
    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// Without features, no field of the configuration is valid (5.3.4).
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config(&[], offset, data);
    }

    fn activate(&mut self, activation: Activation) {
        let [rx, tx] = Ring::all(activation);
        self.queues = Some(Queues { rx, tx });
        if let Some(input) = &mut self.input {
            input.open();
        }
    }

    fn reset(&mut self) {
        self.queues = None;
        if let Some(input) = &mut self.input {
            input.gate.close();
        }
    }

    fn sources(&self) -> Vec<RawFd> {
        self.input.iter().map(|input| input.gate.source()).collect()
    }

    fn kicked(&mut self, index: usize) {
        match index {
            RX => {
                if let Some(input) = &mut self.input {
                    input.open();
                }
            }
            TX => self.write_output(),
            _ => {}
        }
    }

    fn ready(&mut self, _source: RawFd) {
        self.read_input();
    }
}

#[cfg(test)]
mod tests;
