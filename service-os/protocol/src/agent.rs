//! Between a node and the agent in its service VM, over virtio-vsock. The node connects to [`PORT`] as often as it needs a
//! connection; the first frame on each says what it is for.
//!
//! A program is one session connection and one connection for each of its streams:
//!
//! ```text
//! node                                     agent
//!  Hello::Session{7} ----------------------->
//!  Hello::Stream{7, Stdin}, ... ------------>   (each on its own connection)
//!  Order::Start ---------------------------->
//!  <----------------------- Event::Launch, or Event::Started, or Event::Refused
//!  Order::Signal, Resize, Proxy ------------>
//!  <--------------------------- Event::Proxy
//!  <--------------------------- Event::Ended
//!  closes
//! ```

use serde::{Deserialize, Serialize};

use crate::proxy::{FromProxy, ToProxy};
use crate::{Launch, Text};

/// The port on which the agent listens.
pub const PORT: u32 = 0x4d47;

/// The first frame of a connection: what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hello {
    /// [`Control`] messages and their [`ControlReply`].
    Control,
    /// One program: [`Order`]s one way, [`Event`]s the other. Its end is the program's: the agent kills what is left.
    Session {
        /// A number that the node has not used before.
        id: u64,
    },
    /// Bytes that belong to a session: follow right behind this frame.
    Stream {
        /// The session.
        id: u64,
        /// What they are to its program.
        stream: Stream,
    },
}

/// What a stream is to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Its standard input. The end of it is the end of file.
    Stdin,
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// A terminal's both directions, in place of the three.
    Terminal,
    /// The proxy's doorbell: each way, bytes whose arrival means that the other side has something to do.
    Doorbell,
}

/// Node to agent, on a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Answer with [`ControlReply::Pong`].
    Ping(u64),
    /// Write what is unwritten and switch the machine off.
    PowerOff,
}

/// Agent to node, on a control connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlReply {
    /// To the ping of this number.
    Pong(u64),
}

/// Node to agent, on a session's connection. The first is [`Order::Start`], sent when the session's streams are connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start the program.
    Start(Start),
    /// Send it a signal.
    Signal(i32),
    /// Its terminal has changed.
    Resize(WindowSize),
    /// Something for the proxy: the node is to a proxy in its service VM what it is to one on the host.
    Proxy(ToProxy),
}

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Where its code is to run.
    pub place: Place,
    /// Its name and arguments.
    pub args: Vec<Text>,
    /// Its environment, `NAME=value`.
    pub env: Vec<Text>,
    /// Working directory, from which relative paths count; `/` if there is no such directory in the service VM.
    pub directory: Text,
    /// User and group to run it as.
    pub user: (u32, u32),
    /// The streams that were connected, or soon will be. Where one of the three is missing the program has `/dev/null`.
    /// [`Stream::Terminal`] makes a terminal, which is then all three.
    pub streams: Vec<Stream>,
    /// Size of the terminal, if there is one.
    pub window: Option<WindowSize>,
}

/// Where a program's code runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In an LWK: start a proxy.
    Lwk {
        /// Guest-physical address of the LWK's memory in the service VM.
        address: u64,
        /// Its bytes.
        bytes: u64,
        /// How long the proxy polls before it sleeps, in microseconds.
        spin_us: u32,
    },
    /// In this Linux itself: start the program.
    Linux,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Agent to node, on a session's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The proxy runs and waits for its LWK.
    Launch(Launch),
    /// The program runs, on this Linux itself, as this process.
    Started(u32),
    /// It cannot be started. Nothing follows; the node closes the connection.
    Refused {
        /// Why.
        message: String,
        /// What to do, if that is known.
        hint: Option<String>,
        /// A shell's exit status for it: 125, 126 or 127.
        status: u8,
    },
    /// Something from the proxy.
    Proxy(FromProxy),
    /// It has ended. Nothing follows; the node closes the connection. What the program wrote may still be on its way in the
    /// streams, each of which ends when nobody holds it open any more.
    Ended(Ending),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Signaled(i32),
}
