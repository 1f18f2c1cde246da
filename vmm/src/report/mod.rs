//! What is said about an LWK: where it was when it ended or was asked, and what it counted.

pub mod crash;
pub mod figures;
mod symbols;
