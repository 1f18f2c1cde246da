//! Names for addresses, from an ELF file's symbol table.

use std::path::Path;

use object::{Object, ObjectSymbol, SymbolKind};

/// The function symbols of a file. Empty where the file has none or cannot be read: a report without names is better than none.
#[derive(Debug, Default)]
pub struct Symbols(Vec<(u64, u64, String)>);

impl Symbols {
    /// Reads the symbols of `path`.
    pub fn read(path: &Path) -> Symbols {
        let Ok(bytes) = std::fs::read(path) else { return Symbols::default() };
        let Ok(file) = object::File::parse(&*bytes) else { return Symbols::default() };
        let mut symbols: Vec<_> = file
            .symbols()
            .filter(|symbol| {
                matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown)
            })
            .filter(|symbol| symbol.is_definition() && symbol.address() != 0)
            .filter_map(|symbol| {
                let name = rustc_demangle::demangle(symbol.name().ok()?).to_string();
                Some((symbol.address(), symbol.size(), name))
            })
            .collect();
        symbols.sort_unstable();
        Symbols(symbols)
    }

    /// `name+0xoffset` for an address in the file's numbering, or nothing.
    pub fn describe(&self, address: u64) -> Option<String> {
        let after = self.0.partition_point(|&(start, ..)| start <= address);
        let (start, size, name) = self.0[..after].last()?;
        let offset = address - start;
        let inside = offset < *size || (*size == 0 && offset < 4096);
        // The hash that Rust appends tells a reader nothing.
        let name = name
            .rsplit_once("::h")
            .filter(|(_, h)| h.len() == 16)
            .map_or(name.as_str(), |(n, _)| n);
        inside.then(|| format!("{name}+{offset:#x}"))
    }
}
