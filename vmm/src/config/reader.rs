//! Walks a parsed TOML table key by key, and writes down what is wrong instead of stopping at the first.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Located, Mistake, Problem, Span};

/// A table that is being read.
pub(super) struct TableReader<'t, 'm> {
    table: &'t DeTable<'t>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'t, 'm> TableReader<'t, 'm> {
    /// Begins to read a table, and notes each of its keys that is not in `known`.
    pub(super) fn new(
        table: &'t DeTable<'t>,
        name: &'static str,
        known: &'static [&'static str],
        mistakes: &'m mut Vec<Mistake>,
    ) -> TableReader<'t, 'm> {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let problem =
                Problem::UnknownKey { key: key.get_ref().to_string(), table: name, known };
            mistakes.push(Mistake::new(Some(key.span()), &problem));
        }
        TableReader { table, mistakes }
    }

    /// Begins to read a table below this one, whose mistakes go to the same list.
    pub(super) fn inner(
        &mut self,
        table: &'t DeTable<'t>,
        name: &'static str,
        known: &'static [&'static str],
    ) -> TableReader<'t, '_> {
        TableReader::new(table, name, known, self.mistakes)
    }

    /// The value of a key as `parse` reads it; `None` where the key is missing or wrong, which is then noted.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'t>) -> Result<T, Problem>,
    ) -> Option<Located<T>> {
        let value = self.table.get(key)?;
        let parsed = parse(value.get_ref());
        self.note(value.span(), parsed)
            .map(|parsed| Located { value: parsed, span: Some(value.span()) })
    }

    /// The raw value of a key, for what is not a single value.
    pub(super) fn raw(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Takes the value out of a result, or notes the problem at `span`, if it has a place.
    pub(super) fn note<T>(
        &mut self,
        span: impl Into<Option<Span>>,
        result: Result<T, Problem>,
    ) -> Option<T> {
        result.map_err(|problem| self.mistakes.push(Mistake::new(span.into(), &problem))).ok()
    }
}
