//! Everything of the machine: all the asm, and all that knows about privilege.

pub mod boot;
pub mod cpu;
pub mod gate;
pub mod privilege;
pub mod segments;
pub mod trap;
pub mod usercopy;
