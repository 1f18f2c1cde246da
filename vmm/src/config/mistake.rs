//! Mistakes in a node file and how they are shown: the line, a caret under the place, and what to write instead.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::text::wrap;

/// A range of bytes in a node file.
pub type Span = Range<usize>;

/// A typed reason for a [`Mistake`].
pub trait Explain: std::error::Error {
    /// What the user can do; `None` where the message says it all.
    fn hint(&self) -> Option<String>;
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where; `None` when it is about something that the file does not have.
    pub span: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl Mistake {
    /// A mistake at a place.
    pub fn new(span: Option<Span>, reason: &impl Explain) -> Mistake {
        Mistake { span, message: reason.to_string(), hint: reason.hint() }
    }
}

/// A node file's text and where it came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path, as the user gave it.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// Why a node file does not describe a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeFileError {
    /// It cannot be opened or read.
    #[error("cannot read the node file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("the node file {} is not text in UTF-8; TOML files are", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It has mistakes, at least one.
    #[error("{}", Rendered(source_file, mistakes))]
    Mistakes {
        /// The file.
        source_file: Source,
        /// All of them, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

/// A mistake for programs (`--json`).
#[derive(Debug, Serialize)]
pub struct MistakeRecord {
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
}

impl NodeFileError {
    /// The mistakes for programs; empty when the file could not be read.
    pub fn records(&self) -> Vec<MistakeRecord> {
        let NodeFileError::Mistakes { source_file, mistakes } = self else {
            return Vec::new();
        };
        let record = |mistake: &Mistake| {
            let place = mistake.span.as_ref().map(|span| Place::find(&source_file.text, span));
            MistakeRecord {
                message: mistake.message.clone(),
                hint: mistake.hint.clone(),
                line: place.as_ref().map(|place| place.line),
                column: place.as_ref().map(|place| place.column),
            }
        };
        mistakes.iter().map(record).collect()
    }
}

/// A span as a person counts.
struct Place<'t> {
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// The whole line.
    text: &'t str,
    /// Characters of the span on this line, at least one.
    width: usize,
}

impl<'t> Place<'t> {
    /// The place of a span. A span outside the text, or inside a character, is moved to the nearest that is not.
    fn find(text: &'t str, span: &Span) -> Place<'t> {
        let start = floor_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = floor_boundary(text, span.end).clamp(start, line_end);
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: text[line_start..line_end].trim_end(),
            width: text[start..end].chars().count().max(1),
        }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// All mistakes of a file, as the compiler of this language would show them.
struct Rendered<'a>(&'a Source, &'a [Mistake]);

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rendered(source, mistakes) = self;
        for mistake in *mistakes {
            render(f, source, mistake)?;
        }
        let plural = if mistakes.len() == 1 { "" } else { "s" };
        write!(f, "{}: {} mistake{plural}", source.path.display(), mistakes.len())
    }
}

fn render(f: &mut fmt::Formatter<'_>, source: &Source, mistake: &Mistake) -> fmt::Result {
    let path = source.path.display();
    writeln!(f, "error: {}", mistake.message)?;
    let mut gutter = 1;
    match &mistake.span {
        Some(span) => {
            let place = Place::find(&source.text, span);
            let line = place.line.to_string();
            gutter = line.len();
            // A tab stays a tab under a tab, so that the caret stands right at any tab width.
            let indent: String = (place.text.chars().take(place.column - 1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let carets = "^".repeat(place.width);
            writeln!(f, "{:gutter$}--> {path}:{line}:{}", "", place.column)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {}", place.text)?;
            writeln!(f, "{:gutter$} | {indent}{carets}", "")?;
        }
        None => writeln!(f, "{:gutter$}--> {path}", "")?,
    }
    if let Some(hint) = &mistake.hint {
        let lead = format!("{:gutter$} = help: ", "");
        writeln!(f, "{lead}{}", wrap(hint, lead.len()))?;
    }
    writeln!(f)
}
