//! The keys of a node file, their defaults, and how each is read.

use std::path::PathBuf;
use std::time::Duration;

use margay_abi::boot::Delegation;
use toml::de::{DeTable, DeValue};

use crate::config::reader::TableReader;
use crate::config::{
    CoreChoice, DEFAULT_NAME, DEFAULT_SPIN, DEFAULT_STACK, IsolationChoice, Located, LwkConfig,
    MemoryChoice, Mistake, PageChoice, Problem, ServiceConfig, value,
};

const NODE_KEYS: &[&str] = &["service", "lwk"];
const SERVICE_KEYS: &[&str] = &["kind", "cores", "spin_us"];
const LWK_KEYS: &[&str] = &[
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
];
/// Longest time that a proxy may be told to poll: a minute.
const MAX_SPIN_US: u64 = 60_000_000;

/// Reads a whole node file. The error has every mistake, in the order of the file.
pub(super) fn read_node(text: &str) -> Result<(ServiceConfig, LwkConfig), Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser guessed behind an error would only give misleading mistakes.
        let mistake = |error: toml::de::Error| {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            Mistake::new(error.span(), &Problem::Syntax(message))
        };
        return Err(errors.into_iter().map(mistake).collect());
    }
    let mut mistakes = Vec::new();
    let mut node = TableReader::new(table.get_ref(), "the node file", NODE_KEYS, &mut mistakes);
    let service = node.raw("service").and_then(|value| {
        let problem = || {
            value::wrong_type(
                "service",
                value.get_ref(),
                "a table",
                "[service] on a line of its own",
            )
        };
        node.note(value.span(), value.get_ref().as_table().ok_or_else(problem))
    });
    let lwk = read_lwk_list(&mut node);
    let empty = DeTable::new();
    let service = read_service(service.unwrap_or(&empty), &mut mistakes);
    let lwk = read_lwk(lwk.unwrap_or(&empty), &mut mistakes);
    if mistakes.is_empty() {
        return Ok((service, lwk));
    }
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
    Err(mistakes)
}

/// The first `[[lwk]]`; the others are mistakes.
fn read_lwk_list<'t>(node: &mut TableReader<'t, '_>) -> Option<&'t DeTable<'t>> {
    let Some(value) = node.raw("lwk") else {
        node.note(None, Err::<(), _>(Problem::NoLwk));
        return None;
    };
    let elements = match value.get_ref() {
        DeValue::Array(elements) => elements,
        DeValue::Table(_) => return node.note(value.span(), Err(Problem::SingleLwk)),
        other => {
            let problem = value::wrong_type("lwk", other, "an array of tables", "[[lwk]]");
            return node.note(value.span(), Err(problem));
        }
    };
    for (i, extra) in elements.iter().enumerate().skip(1) {
        node.note(extra.span(), Err::<(), _>(Problem::SeveralLwks(i + 1)));
    }
    let Some(first) = elements.iter().next() else {
        return node.note(value.span(), Err(Problem::NoLwk));
    };
    let problem = || value::wrong_type("lwk", first.get_ref(), "a table", "[[lwk]]");
    node.note(first.span(), first.get_ref().as_table().ok_or_else(problem))
}

fn read_service(table: &DeTable<'_>, mistakes: &mut Vec<Mistake>) -> ServiceConfig {
    let mut reader = TableReader::new(table, "[service]", SERVICE_KEYS, mistakes);
    reader.read("kind", |kind| match value::word("kind", &["host", "vm"], kind)? {
        0 => Ok(()),
        _ => Err(Problem::ServiceVm),
    });
    let cores = reader.read("cores", |cores| match value::cores(cores)? {
        CoreChoice::Rest => Ok(CoreChoice::Auto),
        choice => Ok(choice),
    });
    let spin = reader.read("spin_us", |spin| value::number("spin_us", (0, MAX_SPIN_US), spin));
    ServiceConfig {
        cores: cores.unwrap_or(Located::default_value(CoreChoice::Auto)),
        spin: spin.map_or(DEFAULT_SPIN, |spin| Duration::from_micros(spin.value)),
    }
}

fn read_lwk(table: &DeTable<'_>, mistakes: &mut Vec<Mistake>) -> LwkConfig {
    let mut reader = TableReader::new(table, "[[lwk]]", LWK_KEYS, mistakes);
    let pages = [PageChoice::Auto, PageChoice::Large, PageChoice::Small];
    let isolation = [IsolationChoice::Auto, IsolationChoice::Protected, IsolationChoice::Fused];
    let delegation = [Delegation::Queue, Delegation::Hypercall];
    LwkConfig {
        name: reader.read("name", read_name).map_or(DEFAULT_NAME.to_owned(), |name| name.value),
        cores: (reader.read("cores", value::cores))
            .unwrap_or(Located::default_value(CoreChoice::Auto)),
        memory: (reader.read("memory", value::memory))
            .unwrap_or(Located::default_value(MemoryChoice::Auto)),
        pages: (reader.read("pages", |v| value::word("pages", &["auto", "2M", "4K"], v)))
            .map_or(Located::default_value(PageChoice::Auto), |at| at.map(|i| pages[i])),
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
    }
}

fn read_name(value: &DeValue<'_>) -> Result<String, Problem> {
    let name = value::text("name", "it as name = \"solver-1\"", value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match name.len() {
        1..=32 if name.chars().all(allowed) => Ok(name),
        _ => Err(Problem::BadName),
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
