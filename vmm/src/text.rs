//! Text in columns, for the pages that people read.

use std::ffi::OsStr;
use std::time::Duration;

/// Columns of a page.
pub const WIDTH: usize = 96;

/// Breaks `text` at spaces, so that each line after `indent` columns ends before [`WIDTH`]; the lines after the first begin with
/// the indentation. A longer word is not broken.
pub fn wrap(text: &str, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > WIDTH {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        }
        if column > indent {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

/// A duration in ns, with three digits and the unit that suits.
pub fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        _ if ns < 1e3 => (ns, "ns"),
        _ if ns < 1e6 => (ns / 1e3, "us"),
        _ => (ns / 1e6, "ms"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// A command as it is shown: on one line, and not all of a long one.
pub fn command<'a>(args: impl Iterator<Item = &'a OsStr>) -> String {
    const SHOWN: usize = 200;
    let all = args.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let shown: String = all.chars().map(printable).take(SHOWN).collect();
    if all.chars().nth(SHOWN).is_some() { shown + "..." } else { shown }
}

/// A time span as people say it: the two largest units.
pub fn age(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WIDTH, age, duration, wrap};

    #[test]
    fn ages_have_two_units() {
        let ages = [(0, "0s"), (59, "59s"), (61, "1m01s"), (7265, "2h01m"), (90_000, "1d01h")];
        for (seconds, text) in ages {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn lines_end_before_the_width() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, 20);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with(&" ".repeat(20))));
        assert_eq!(wrapped.split_whitespace().count(), 60);
        assert_eq!(wrap("a  b", 4), "a b");
    }

    #[test]
    fn durations_have_three_digits() {
        assert_eq!(duration(0.2617), "0.26 ns");
        assert_eq!(duration(12.34), "12.3 ns");
        assert_eq!(duration(37_809.0), "37.8 us");
        assert_eq!(duration(2_500_000.0), "2.50 ms");
    }
}
