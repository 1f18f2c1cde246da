//! The keys of a node file, their defaults, and how each is read: a file for each table.

mod lwk;
mod service;

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::reader::TableReader;
use crate::config::{
    DEFAULT_SOCKET_MODE, LwkConfig, MAX_LWKS, MAX_NAME, Mistake, Problem, ServiceConfig, value,
};

const FILE_KEYS: &[&str] = &["node", "service", "lwk"];
const NODE_KEYS: &[&str] = &["name", "oversubscribe", "socket_mode"];

/// What a node file says, without its text.
pub(super) struct Keys {
    pub(super) node: NodeKeys,
    pub(super) service: ServiceConfig,
    pub(super) lwks: Vec<LwkConfig>,
}

/// `[node]`.
pub(super) struct NodeKeys {
    pub(super) name: String,
    pub(super) oversubscribe: bool,
    pub(super) socket_mode: u32,
}

/// Reads a whole node file. `path` gives the node its default name. The error has every mistake, in the order of the file.
pub(super) fn read_node(path: &Path, text: &str) -> Result<Keys, Vec<Mistake>> {
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
    let mut file = TableReader::new(table.get_ref(), "the node file", FILE_KEYS, &mut mistakes);
    let empty = DeTable::new();
    let node = read_table(&mut file, "node", "[node] on a line of its own").unwrap_or(&empty);
    let service =
        read_table(&mut file, "service", "[service] on a line of its own").unwrap_or(&empty);
    let node = read_node_table(&mut file.inner(node, "[node]", NODE_KEYS), path);
    let service = service::read(&mut file, service);
    let lwks = read_lwks(&mut file, text);
    if mistakes.is_empty() {
        return Ok(Keys { node, service, lwks });
    }
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
    Err(mistakes)
}

/// A table of the node file, if it is there and is one.
fn read_table<'t>(
    file: &mut TableReader<'t, '_>,
    key: &'static str,
    example: &'static str,
) -> Option<&'t DeTable<'t>> {
    let value = file.raw(key)?;
    let problem = || value::wrong_type(key, value.get_ref(), "a table", example);
    file.note(value.span(), value.get_ref().as_table().ok_or_else(problem))
}

fn read_node_table(reader: &mut TableReader<'_, '_>, path: &Path) -> NodeKeys {
    NodeKeys {
        name: reader
            .read("name", value::name)
            .map_or_else(|| default_name(path), |name| name.value),
        oversubscribe: reader
            .read("oversubscribe", |v| value::truth("oversubscribe", v))
            .is_some_and(|at| at.value),
        socket_mode: reader
            .read("socket_mode", value::mode)
            .map_or(DEFAULT_SOCKET_MODE, |mode| mode.value),
    }
}

/// The file's name without its ending, with what a name cannot have made a `-`.
fn default_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let allow = |c: char| if value::allowed_in_name(c) { c } else { '-' };
    let name: String = stem.chars().map(allow).take(MAX_NAME).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// All `[[lwk]]`, each with a name of its own.
fn read_lwks(file: &mut TableReader<'_, '_>, text: &str) -> Vec<LwkConfig> {
    let Some(value) = file.raw("lwk") else {
        file.note(None, Err::<(), _>(Problem::NoLwk));
        return Vec::new();
    };
    let elements = match value.get_ref() {
        DeValue::Array(elements) => Ok(elements),
        DeValue::Table(_) => Err(Problem::SingleLwk),
        other => Err(value::wrong_type("lwk", other, "an array of tables", "[[lwk]]")),
    };
    let Some(elements) = file.note(value.span(), elements) else { return Vec::new() };
    if elements.is_empty() {
        file.note(value.span(), Err::<(), _>(Problem::NoLwk));
    }
    if let Some(first_extra) = elements.get(MAX_LWKS) {
        let problem = Problem::TooManyLwks(elements.len());
        file.note(first_extra.span(), Err::<(), _>(problem));
    }
    let mut lwks = Vec::new();
    for (number, element) in elements.iter().enumerate() {
        let problem = || value::wrong_type("lwk", element.get_ref(), "a table", "[[lwk]]");
        let table = element.get_ref().as_table().ok_or_else(problem);
        if let Some(table) = file.note(element.span(), table) {
            lwks.push(lwk::read(file, table, (number, element.span())));
        }
    }
    check_names(file, &lwks, text);
    lwks
}

/// Notes every name that an LWK before has already.
fn check_names(file: &mut TableReader<'_, '_>, lwks: &[LwkConfig], text: &str) {
    for (number, lwk) in lwks.iter().enumerate() {
        let same = |other: &&LwkConfig| other.name.value == lwk.name.value;
        let Some(first) = lwks[..number].iter().find(same) else { continue };
        let line = text[..first.name_span().start].matches('\n').count() + 1;
        let problem = Problem::DuplicateName { name: lwk.name.value.clone(), line };
        file.note(lwk.name_span(), Err::<(), _>(problem));
    }
}
