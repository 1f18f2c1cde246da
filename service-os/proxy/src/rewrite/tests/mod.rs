//! Tests of the rewriting: hand-assembled sites, patched code that is run, hostile bytes, and whole programs.
//!
//! Every plan that any of them makes goes through [`verify::check`], which knows nothing of how it was made.

mod assemble;
mod cases;
mod executed;
mod hostile;
mod programs;
mod verify;
