//! Whole conversations between callers on the host and a guest that is played by the test.

mod conversation;
mod flow;
mod guest;
mod hostile;
