//! Reads single values of the node file: a word, cores, memory, text.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::config::{CoreChoice, MAX_NAME, MemoryChoice, PageChoice, Problem};
use crate::units::{Bytes, CoreId, CoreSet, ParseCoresError};

/// A string without NUL.
pub(super) fn text(
    key: &str,
    example: &'static str,
    value: &DeValue<'_>,
) -> Result<String, Problem> {
    match value.as_str() {
        None => Err(wrong_type(key, value, "text in quotes", example)),
        Some(text) if text.contains('\0') => Err(Problem::NulCharacter(format!("`{key}`"))),
        Some(text) => Ok(text.to_owned()),
    }
}

/// A path.
pub(super) fn path(
    key: &'static str,
    example: &'static str,
    value: &DeValue<'_>,
) -> Result<PathBuf, Problem> {
    let path = text(key, example, value)?;
    if path.is_empty() { Err(Problem::EmptyPath(key)) } else { Ok(PathBuf::from(path)) }
}

/// `name`, of a node or an LWK: what can stand in a report, a file name and a command line.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Problem> {
    let name = text("name", "it as name = \"solver-1\"", value)?;
    match name.len() {
        1..=MAX_NAME if name.chars().all(allowed_in_name) => Ok(name),
        _ => Err(Problem::BadName),
    }
}

/// Whether a name may have the character.
pub(super) fn allowed_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// True or false.
pub(super) fn truth(key: &'static str, value: &DeValue<'_>) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| wrong_type(key, value, "true or false", "it without quotes"))
}

/// `socket_mode`: a file's permissions, in octal text as `chmod` takes them.
pub(super) fn mode(value: &DeValue<'_>) -> Result<u32, Problem> {
    let mode = text("socket_mode", "it in quotes, as socket_mode = \"0600\"", value)?;
    let octal = !mode.is_empty() && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(&mode, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(Problem::BadMode(mode)),
    }
}

/// `pages`.
pub(super) fn pages(value: &DeValue<'_>) -> Result<PageChoice, Problem> {
    let pages = [PageChoice::Auto, PageChoice::Large, PageChoice::Small];
    word("pages", &["auto", "2M", "4K"], value).map(|i| pages[i])
}

/// One of a few words; its place in `allowed`.
pub(super) fn word(
    key: &'static str,
    allowed: &'static [&'static str],
    value: &DeValue<'_>,
) -> Result<usize, Problem> {
    let word = value.as_str().map_or_else(|| value.type_str().to_owned(), str::to_owned);
    (allowed.iter().position(|candidate| value.as_str() == Some(candidate)))
        .ok_or(Problem::NotAWord { key, word, allowed })
}

/// A whole number between `min` and `max`.
pub(super) fn number(
    key: &'static str,
    (min, max): (u64, u64),
    value: &DeValue<'_>,
) -> Result<u64, Problem> {
    let Some(integer) = value.as_integer() else {
        return Err(wrong_type(key, value, "a whole number", "it without quotes and unit"));
    };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(Problem::OutOfRange { key, value: integer.as_str().to_owned(), min, max }),
    }
}

/// An amount of memory.
pub(super) fn bytes(key: &'static str, value: &DeValue<'_>) -> Result<Bytes, Problem> {
    let text = value.as_str().ok_or_else(|| {
        wrong_type(key, value, "text in quotes", "the amount with its unit, as \"64M\"")
    })?;
    text.parse().map_err(|why| Problem::NotMemory { key, why })
}

/// `memory`.
pub(super) fn memory(value: &DeValue<'_>) -> Result<MemoryChoice, Problem> {
    match value.as_str().map(str::trim) {
        Some("auto") => Ok(MemoryChoice::Auto),
        Some("rest") => Ok(MemoryChoice::Rest),
        Some(text) if text.contains('/') => (text.parse().map(MemoryChoice::Part))
            .map_err(|why| Problem::NotAPart { key: "memory", why }),
        _ => bytes("memory", value).map(MemoryChoice::Size),
    }
}

/// `cores`: a word, a list in Linux's notation, or an array.
pub(super) fn cores(value: &DeValue<'_>) -> Result<CoreChoice, Problem> {
    let set = match value {
        DeValue::String(text) => match text.trim() {
            "auto" => return Ok(CoreChoice::Auto),
            "rest" => return Ok(CoreChoice::Rest),
            text => text.parse().map_err(Problem::NotCores)?,
        },
        DeValue::Array(elements) => {
            let mut cores = Vec::new();
            for element in elements.iter() {
                let max = u64::from(CoreId::LIMIT - 1);
                let core = number("cores", (0, max), element.get_ref())?;
                let core = CoreId(u32::try_from(core).expect("the largest core number fits"));
                if cores.contains(&core) {
                    return Err(Problem::NotCores(ParseCoresError::Twice(core)));
                }
                cores.push(core);
            }
            cores.into_iter().collect::<CoreSet>()
        }
        _ => return Err(wrong_type("cores", value, "a list", "[0, 1], \"0-1\" or \"auto\"")),
    };
    if set.is_empty() { Err(Problem::NoCores) } else { Ok(CoreChoice::Set(set)) }
}

/// The problem of a value that has another TOML type.
pub(super) fn wrong_type(
    key: &str,
    value: &DeValue<'_>,
    expected: &'static str,
    example: &'static str,
) -> Problem {
    let found = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::WrongType { key: key.to_owned(), found, expected, example }
}
