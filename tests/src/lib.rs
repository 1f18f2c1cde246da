//! The whole-system tests' harness: everything goes through the `margay` command, as a user would.
//!
//! A [`Case`] is a program with its surroundings. It can run on the host and in an LWK, in each [`Mode`] that the
//! machine under test has; [`Case::assert_same_as_host`] demands that output, exit status and files are the same, byte for
//! byte. After each run nothing may be left: no process of ours, nor of the program's.
//! [`Nodes`] are nodes that live from `margay up` to `margay down`, with any number of commands in between.
//!
//! The tests themselves are in `tests/system/`. They run natively and in the virtual node; [`place`] tells them apart.

mod case;
mod folder;
mod mode;
mod node;
mod nodes;
mod place;
mod process;
mod running;
mod sys;
mod turn;

pub use case::{Case, Outcome, Sink};
pub use folder::Folder;
pub use mode::Mode;
pub use node::NodeFile;
pub use nodes::Nodes;
pub use place::{Place, busybox, margay, place, program};
pub use running::Running;
pub use sys::{KvmDevice, Signal, with_kvm_device};
