//! Cores and sets of cores, in Linux's own notation (`0-3,8`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A logical CPU, by Linux's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct CoreId(pub u32);

impl CoreId {
    /// One more than the largest number that a node file may name: the most that Linux can be built for (`NR_CPUS`).
    pub const LIMIT: u32 = 8192;
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of cores. Printed and parsed as Linux's CPU lists; serialized as an array of numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CoreSet(BTreeSet<CoreId>);

impl CoreSet {
    /// The cores in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = CoreId> + '_ {
        self.0.iter().copied()
    }

    /// Whether the core is in the set.
    pub fn contains(&self, core: CoreId) -> bool {
        self.0.contains(&core)
    }

    /// How many cores there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cores of this set that are in `other` too.
    pub fn intersection(&self, other: &CoreSet) -> CoreSet {
        self.iter().filter(|core| other.contains(*core)).collect()
    }

    /// The cores of this set that are not in `other`.
    pub fn difference(&self, other: &CoreSet) -> CoreSet {
        self.iter().filter(|core| !other.contains(*core)).collect()
    }

    /// The cores of both sets.
    pub fn union(&self, other: &CoreSet) -> CoreSet {
        self.iter().chain(other.iter()).collect()
    }
}

impl FromIterator<CoreId> for CoreSet {
    fn from_iter<I: IntoIterator<Item = CoreId>>(cores: I) -> CoreSet {
        CoreSet(cores.into_iter().collect())
    }
}

impl<const N: usize> From<[u32; N]> for CoreSet {
    fn from(cores: [u32; N]) -> CoreSet {
        cores.into_iter().map(CoreId).collect()
    }
}

impl Serialize for CoreSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl fmt::Display for CoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut cores = self.iter().map(|core| core.0).peekable();
        while let Some(first) = cores.next() {
            let mut last = first;
            while let Some(next) = cores.next_if_eq(&(last + 1)) {
                last = next;
            }
            let comma = if text.is_empty() { "" } else { "," };
            text += &match last {
                _ if last == first => format!("{comma}{first}"),
                _ => format!("{comma}{first}-{last}"),
            };
        }
        f.pad(if text.is_empty() { "none" } else { &text })
    }
}

/// Why a text is not a list of cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseCoresError {
    /// An element is neither a number nor a range of two.
    #[error("a list of cores is numbers and ranges with commas between")]
    NotAList,
    /// A range ends before it begins.
    #[error("a range of cores begins with the smaller number")]
    Backwards,
    /// A number above every core that Linux can have.
    #[error("no machine has a core of this number; the largest is {}", CoreId::LIMIT - 1)]
    TooLarge,
    /// A core is named twice.
    #[error("core {0} is named twice")]
    Twice(CoreId),
}

/// Parses `0-1,3`. The empty text is the empty set, as Linux writes it.
impl FromStr for CoreSet {
    type Err = ParseCoresError;

    fn from_str(text: &str) -> Result<CoreSet, ParseCoresError> {
        let mut set = BTreeSet::new();
        if text.trim().is_empty() {
            return Ok(CoreSet(set));
        }
        for element in text.split(',') {
            let (first, last) = element.split_once('-').unwrap_or((element, element));
            let (first, last) = (parse_core(first)?, parse_core(last)?);
            if last < first {
                return Err(ParseCoresError::Backwards);
            }
            for core in first..=last {
                if !set.insert(CoreId(core)) {
                    return Err(ParseCoresError::Twice(CoreId(core)));
                }
            }
        }
        Ok(CoreSet(set))
    }
}

fn parse_core(text: &str) -> Result<u32, ParseCoresError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseCoresError::NotAList);
    }
    match text.parse() {
        Ok(core) if core < CoreId::LIMIT => Ok(core),
        _ => Err(ParseCoresError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::{CoreId, CoreSet, ParseCoresError};
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn lists_are_read_and_written_as_linux_does() {
        for (text, cores) in [
            ("0", CoreSet::from([0])),
            ("0-1,3", CoreSet::from([0, 1, 3])),
            ("0,1,2", CoreSet::from([0, 1, 2])),
            ("5, 7-8", CoreSet::from([5, 7, 8])),
            ("", CoreSet::default()),
        ] {
            assert_eq!(text.parse(), Ok(cores), "{text}");
        }
        assert_eq!(CoreSet::from([0, 1, 2, 4, 6, 7]).to_string(), "0-2,4,6-7");
        assert_eq!(CoreSet::default().to_string(), "none");
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        for (text, error) in [
            ("a", ParseCoresError::NotAList),
            ("1-", ParseCoresError::NotAList),
            ("1,,2", ParseCoresError::NotAList),
            ("+1", ParseCoresError::NotAList),
            ("3-1", ParseCoresError::Backwards),
            ("0-99999999999", ParseCoresError::TooLarge),
            ("8192", ParseCoresError::TooLarge),
            ("1,0-2", ParseCoresError::Twice(CoreId(1))),
        ] {
            assert_eq!(text.parse::<CoreSet>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = text.parse::<CoreSet>();
        }

        #[test]
        fn a_printed_set_is_read_back(cores in proptest::collection::btree_set(0_u32..CoreId::LIMIT, 1..40)) {
            let set: CoreSet = cores.into_iter().map(CoreId).collect();
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
