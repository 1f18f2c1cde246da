//! Quantities as types, so that a core is not added to a byte: [`CoreId`], [`CoreSet`], [`Bytes`], [`Fraction`].

mod bytes;
mod cores;

pub use bytes::{Bytes, Fraction, ParseBytesError, ParseFractionError};
pub use cores::{CoreId, CoreSet, ParseCoresError};
