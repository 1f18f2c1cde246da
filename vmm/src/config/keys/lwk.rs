//! `[[lwk]]`: a lightweight kernel and its program.

use std::path::PathBuf;
use std::time::Duration;

use margay_abi::boot::Delegation;
use toml::de::{DeTable, DeValue};

use crate::config::reader::TableReader;
use crate::config::{
    CoreChoice, DEFAULT_STACK, DEFAULT_WATCH, IsolationChoice, Located, LwkConfig, MemoryChoice,
    PageChoice, Problem, Span, value,
};

const KEYS: &[&str] = &[
    "name",
    "cores",
    "memory",
    "pages",
    "isolation",
    "delegation",
    "stack",
    "program",
    "args",
    "env",
    "image",
    "watch_s",
];
/// Longest time between two looks at an LWK, in seconds: an hour.
const MAX_WATCH_S: u64 = 3600;

/// Reads the LWK with the given number, from 0, whose table begins at the given place.
pub(super) fn read<'t>(
    file: &mut TableReader<'t, '_>,
    table: &'t DeTable<'t>,
    (number, span): (usize, Span),
) -> LwkConfig {
    let mut reader = file.inner(table, "[[lwk]]", KEYS);
    let isolation = [IsolationChoice::Auto, IsolationChoice::Protected, IsolationChoice::Fused];
    let delegation = [Delegation::Queue, Delegation::Hypercall];
    LwkConfig {
        span,
        name: (reader.read("name", read_name))
            .unwrap_or(Located::default_value(format!("lwk{number}"))),
        cores: (reader.read("cores", value::cores))
            .unwrap_or(Located::default_value(CoreChoice::Auto)),
        memory: (reader.read("memory", value::memory))
            .unwrap_or(Located::default_value(MemoryChoice::Auto)),
        pages: (reader.read("pages", value::pages))
            .unwrap_or(Located::default_value(PageChoice::Auto)),
        isolation: (reader
            .read("isolation", |v| value::word("isolation", &["auto", "protected", "fused"], v)))
        .map_or(Located::default_value(IsolationChoice::Auto), |at| at.map(|i| isolation[i])),
        delegation: (reader
            .read("delegation", |v| value::word("delegation", &["queue", "hypercall"], v)))
        .map_or(Delegation::Queue, |at| delegation[at.value]),
        stack: (reader.read("stack", |v| value::bytes("stack", v)))
            .unwrap_or(Located::default_value(DEFAULT_STACK)),
        program: reader.read("program", read_program),
        args: read_args(&mut reader),
        env: read_env(&mut reader),
        image: reader.read("image", |v| value::path("image", "image = \"margay-lwk\"", v)),
        watch: match reader.read("watch_s", |v| value::number("watch_s", (0, MAX_WATCH_S), v)) {
            None => Some(DEFAULT_WATCH),
            Some(Located { value: 0, .. }) => None,
            Some(seconds) => Some(Duration::from_secs(seconds.value)),
        },
    }
}

/// A name that no command takes for something else: `margay restart service` is about the service OS.
fn read_name(value: &DeValue<'_>) -> Result<String, Problem> {
    match value::name(value)? {
        name if name == "service" => Err(Problem::ReservedName),
        name => Ok(name),
    }
}

fn read_program(value: &DeValue<'_>) -> Result<PathBuf, Problem> {
    let program = value::text("program", "it as program = \"/bin/true\"", value)?;
    if program.is_empty() { Err(Problem::EmptyProgram) } else { Ok(PathBuf::from(program)) }
}

fn read_args(reader: &mut TableReader<'_, '_>) -> Vec<String> {
    const EXAMPLE: &str = "args = [\"one\", \"two\"]";
    let Some(value) = reader.raw("args") else { return Vec::new() };
    let problem = || value::wrong_type("args", value.get_ref(), "a list of texts", EXAMPLE);
    let elements = reader.note(value.span(), value.get_ref().as_array().ok_or_else(problem));
    (elements.into_iter().flat_map(|elements| elements.iter()))
        .filter_map(|arg| {
            reader.note(arg.span(), value::text("an argument", EXAMPLE, arg.get_ref()))
        })
        .collect()
}

fn read_env(reader: &mut TableReader<'_, '_>) -> Vec<(String, String)> {
    const EXAMPLE: &str = "env = { NAME = \"value\" }";
    let Some(value) = reader.raw("env") else { return Vec::new() };
    let problem = || value::wrong_type("env", value.get_ref(), "a table of texts", EXAMPLE);
    let table = reader.note(value.span(), value.get_ref().as_table().ok_or_else(problem));
    let mut variables = Vec::new();
    for (name, value) in table.into_iter().flatten() {
        let bad = || Problem::BadVariable(name.get_ref().to_string());
        let known = !name.get_ref().is_empty() && !name.get_ref().contains(['=', '\0']);
        let key =
            reader.note(name.span(), known.then(|| name.get_ref().to_string()).ok_or_else(bad));
        let text = reader.note(value.span(), value::text(name.get_ref(), EXAMPLE, value.get_ref()));
        variables.extend(key.zip(text));
    }
    variables
}
