//! The caller's terminal.

use std::os::fd::{AsRawFd, RawFd};

use margay_protocol::agent::WindowSize;

/// Size of the terminal that standard input and output are, if both are one.
pub fn window() -> Option<WindowSize> {
    let (input, output) = (std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd());
    // SAFETY: asks about open or closed descriptors; no memory is involved.
    if unsafe { libc::isatty(input) == 0 || libc::isatty(output) == 0 } {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one structure, the local.
    let got = unsafe { libc::ioctl(output, libc::TIOCGWINSZ, &raw mut size) };
    (got == 0).then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// The terminal passes every key on: what they mean is for the terminal of the service VM. Dropped, it is as before.
#[derive(Debug)]
pub struct RawMode {
    terminal: RawFd,
    before: Option<libc::termios>,
}

impl RawMode {
    /// Changes standard input's terminal. What is none stays as it is.
    pub fn enter() -> RawMode {
        let terminal = std::io::stdin().as_raw_fd();
        // SAFETY: zero is valid for the structure, which is integers; the calls read and write the locals.
        let before = unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(terminal, &mut before) == 0 {
                let mut raw = before;
                libc::cfmakeraw(&mut raw);
                (libc::tcsetattr(terminal, libc::TCSADRAIN, &raw) == 0).then_some(before)
            } else {
                None
            }
        };
        RawMode { terminal, before }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: reads the structure. A terminal that is gone needs no settings.
            unsafe { libc::tcsetattr(self.terminal, libc::TCSADRAIN, before) };
        }
    }
}
