//! Amounts of memory, as people write and read them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// An amount of memory in bytes. Parsed from a whole number and a suffix; every suffix is binary, with or without `iB`
/// or `B`: `512M` = `512MiB` = `512MB` = 512 * 2^20.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Bytes {
        Bytes(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// The largest multiple of `unit` bytes that is not more than this.
    pub const fn round_down(self, unit: u64) -> Bytes {
        Bytes(self.0 - self.0 % unit)
    }

    /// The smallest multiple of `unit` bytes that is not less than this, or the largest multiple there is.
    pub const fn round_up(self, unit: u64) -> Bytes {
        match self.0.checked_next_multiple_of(unit) {
            Some(bytes) => Bytes(bytes),
            None => Bytes(u64::MAX).round_down(unit),
        }
    }

    /// This much less, at least nothing.
    pub const fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

/// Suffixes, each followed optionally by `iB` or `B`.
const SUFFIXES: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Exact where a suffix divides it ("512 MiB"), else with one decimal ("3.8 GiB").
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((letter, shift)) = SUFFIXES.iter().rev().find(|(_, shift)| self.0 >> shift != 0)
        else {
            return f.pad(&format!("{} B", self.0));
        };
        let whole = 1_u64 << shift;
        if self.0.is_multiple_of(whole) {
            f.pad(&format!("{} {letter}iB", self.0 / whole))
        } else {
            f.pad(&format!("{:.1} {letter}iB", self.0 as f64 / whole as f64))
        }
    }
}

/// Why a text is not an amount of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseBytesError {
    /// It does not begin with a digit.
    #[error("an amount of memory begins with a whole number")]
    NoNumber,
    /// What follows the number is no known suffix.
    #[error("the number is followed by no known unit")]
    BadSuffix,
    /// It does not fit in 64 bits.
    #[error("the amount is larger than any machine's memory")]
    TooLarge,
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Bytes, ParseBytesError> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(ParseBytesError::NoNumber);
        }
        let number: u64 = number.parse().map_err(|_| ParseBytesError::TooLarge)?;
        let suffix = suffix.trim().to_ascii_uppercase();
        let shift = match suffix.chars().next() {
            None => 0,
            Some('B') if suffix == "B" => 0,
            Some(letter) => {
                let found = SUFFIXES.iter().find(|(l, _)| *l == letter);
                let (_, shift) = found.ok_or(ParseBytesError::BadSuffix)?;
                if !["", "B", "IB"].contains(&&suffix[1..]) {
                    return Err(ParseBytesError::BadSuffix);
                }
                *shift
            }
        };
        number.checked_mul(1 << shift).map(Bytes).ok_or(ParseBytesError::TooLarge)
    }
}

/// A part of something: more than nothing, at most all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    /// This part of `whole`, rounded down.
    pub fn of(self, whole: Bytes) -> Bytes {
        let part = u128::from(whole.0) * u128::from(self.numerator) / u128::from(self.denominator);
        Bytes(
            u64::try_from(part)
                .expect("a fraction is at most 1, so its part fits where the whole did"),
        )
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// Why a text is not a fraction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseFractionError {
    /// It is not two whole numbers around a slash.
    #[error("a fraction is two whole numbers with a slash between")]
    NotAFraction,
    /// It is zero, more than one, or divides by zero.
    #[error("a fraction is more than 0 and at most 1")]
    OutOfRange,
}

impl FromStr for Fraction {
    type Err = ParseFractionError;

    fn from_str(text: &str) -> Result<Fraction, ParseFractionError> {
        let (numerator, denominator) =
            text.split_once('/').ok_or(ParseFractionError::NotAFraction)?;
        let number = |text: &str| text.trim().parse().map_err(|_| ParseFractionError::NotAFraction);
        let (numerator, denominator) = (number(numerator)?, number(denominator)?);
        if numerator == 0 || numerator > denominator {
            return Err(ParseFractionError::OutOfRange);
        }
        Ok(Fraction { numerator, denominator })
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Fraction, ParseBytesError, ParseFractionError};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn every_suffix_is_binary() {
        for text in
            ["512M", "512MiB", "512MB", "512 MiB", "512m", "524288K", "536870912", "536870912B"]
        {
            assert_eq!(text.parse(), Ok(Bytes::mib(512)), "{text}");
        }
        assert_eq!("1GiB".parse(), Ok(Bytes::gib(1)));
        assert_eq!("1T".parse(), Ok(Bytes::gib(1024)));
    }

    #[test]
    fn what_is_not_memory_is_refused() {
        for (text, error) in [
            ("", ParseBytesError::NoNumber),
            ("M", ParseBytesError::NoNumber),
            ("-1M", ParseBytesError::NoNumber),
            ("1.5G", ParseBytesError::BadSuffix),
            ("12X", ParseBytesError::BadSuffix),
            ("12MiBs", ParseBytesError::BadSuffix),
            ("1é", ParseBytesError::BadSuffix),
            ("99999999999999999999", ParseBytesError::TooLarge),
            ("16777216T", ParseBytesError::TooLarge),
        ] {
            assert_eq!(text.parse::<Bytes>(), Err(error), "{text}");
        }
    }

    #[test]
    fn fractions_are_of_a_whole() {
        assert_eq!("1/2".parse::<Fraction>().unwrap().of(Bytes::gib(3)), Bytes::mib(1536));
        assert_eq!(" 3 / 4 ".parse::<Fraction>().unwrap().of(Bytes(10)), Bytes(7));
        assert_eq!("5".parse::<Fraction>(), Err(ParseFractionError::NotAFraction));
        assert_eq!("a/2".parse::<Fraction>(), Err(ParseFractionError::NotAFraction));
        for text in ["0/2", "3/2", "1/0", "0/0"] {
            assert_eq!(text.parse::<Fraction>(), Err(ParseFractionError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn rounding_stays_in_range() {
        assert_eq!(Bytes(5).round_up(4), Bytes(8));
        assert_eq!(Bytes(5).round_down(4), Bytes(4));
        assert_eq!(Bytes(u64::MAX).round_up(4096).0 % 4096, 0);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Fraction>();
        }

        #[test]
        fn a_number_of_bytes_is_read_back(n in any::<u64>()) {
            prop_assert_eq!(n.to_string().parse(), Ok(Bytes(n)));
        }

        #[test]
        fn whole_units_are_printed_exactly(mib in 1_u64..1 << 30) {
            let bytes = Bytes::mib(mib);
            if !mib.is_multiple_of(1024) && mib < 1024 {
                prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
            }
        }

        #[test]
        fn a_fraction_is_never_more_than_the_whole(n in 1_u32.., d in 1_u32.., whole in any::<u64>()) {
            if let Ok(fraction) = format!("{n}/{d}").parse::<Fraction>() {
                prop_assert!(fraction.of(Bytes(whole)) <= Bytes(whole));
            }
        }
    }
}
