//! One connection of the node: what it is for.

use std::fs::File;
use std::sync::Arc;

use margay_protocol::agent::Hello;
use margay_protocol::frame;

use crate::console::say;
use crate::service::Service;
use crate::{control, session};

/// Serves a connection to its end.
pub fn serve(connection: File, service: &Arc<Service>) {
    match frame::read(&connection) {
        Ok(Hello::Control) => control::serve(&connection, service),
        Ok(Hello::Session { id }) => session::serve(connection, id, service),
        Ok(Hello::Stream { id, stream }) => service.streams.put(id, stream, connection.into()),
        // A look whether somebody is here.
        Err(frame::FrameError::Closed) => {}
        Err(error) => say(&format!("a connection is turned away: {}", error)),
    }
}
