//! How commands talk to a node: its place in the file system, the messages, the connection.

pub mod connection;
pub mod message;
pub mod place;
