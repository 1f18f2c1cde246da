//! A control connection: signs of life, and the end of the machine.

use std::fs::File;
use std::sync::Arc;

use margay_protocol::agent::{Control, ControlReply};
use margay_protocol::frame::{self, FrameError};

use crate::console::say;
use crate::service::Service;

/// Answers until the node closes.
pub fn serve(connection: &File, service: &Arc<Service>) {
    loop {
        match frame::read(connection) {
            Ok(Control::Ping(number)) => {
                if frame::write(connection, &ControlReply::Pong(number)).is_err() {
                    return;
                }
            }
            Ok(Control::PowerOff) => service.power.off(&service.children),
            Err(FrameError::Closed) => return,
            Err(error) => return say(&format!("a control connection ends: {}", error)),
        }
    }
}
