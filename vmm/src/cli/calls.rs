//! `margay calls`

use std::io::Write;

use clap::{Args, ValueEnum};
use margay_abi::calls::{CALLS, Call, Route};
use serde::Serialize;

use crate::cli::{CliError, print_json};
use crate::exit::Exit;
use crate::text::WIDTH;

/// Arguments of `margay calls`.
#[derive(Debug, Args)]
pub struct CallsArgs {
    /// Only the calls of this route
    #[arg(long)]
    route: Option<RouteName>,
    /// Print data for programs: [{"nr", "name", "route", "errno"}]
    #[arg(long)]
    json: bool,
}

/// A route by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum RouteName {
    /// The lightweight kernel does it
    Local,
    /// The lightweight kernel does its part, Linux the rest
    Split,
    /// Linux does it
    Delegate,
    /// Nobody does it
    Refuse,
}

impl RouteName {
    const fn of(route: Route) -> RouteName {
        match route {
            Route::Local => RouteName::Local,
            Route::Split => RouteName::Split,
            Route::Delegate => RouteName::Delegate,
            Route::Refuse(_) => RouteName::Refuse,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            RouteName::Local => "local: the lightweight kernel does it",
            RouteName::Split => {
                "split: the lightweight kernel does what concerns itself, the proxy the rest"
            }
            RouteName::Delegate => "delegate: the proxy makes the call on Linux",
            RouteName::Refuse => "refuse: the program gets the error",
        }
    }
}

#[derive(Serialize)]
struct CallRecord {
    nr: u32,
    name: &'static str,
    route: RouteName,
    errno: Option<&'static str>,
}

impl From<&Call> for CallRecord {
    fn from(call: &Call) -> CallRecord {
        let errno = match call.route {
            Route::Refuse(errno) => errno.name(),
            Route::Local | Route::Split | Route::Delegate => None,
        };
        CallRecord { nr: call.nr, name: call.name, route: RouteName::of(call.route), errno }
    }
}

pub(super) fn execute(args: &CallsArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let wanted = |record: &CallRecord| args.route.is_none_or(|route| route == record.route);
    let records: Vec<_> = CALLS.iter().map(CallRecord::from).filter(wanted).collect();
    if args.json {
        print_json(out, &records)?;
        return Ok(Exit::Success);
    }
    for route in [RouteName::Local, RouteName::Split, RouteName::Delegate, RouteName::Refuse] {
        let calls: Vec<_> = records.iter().filter(|record| record.route == route).collect();
        if !calls.is_empty() {
            writeln!(out, "{} ({})", route.title(), calls.len())?;
            print_columns(out, &calls)?;
        }
    }
    Ok(Exit::Success)
}

/// In columns, in the order of the numbers, line by line.
fn print_columns(out: &mut impl Write, calls: &[&CallRecord]) -> Result<(), CliError> {
    let cell = |call: &&CallRecord| {
        let errno = call.errno.map_or(String::new(), |errno| format!(" {errno}"));
        format!("{:>5} {}{errno}", call.nr, call.name)
    };
    let cells: Vec<String> = calls.iter().map(cell).collect();
    let width = cells.iter().map(String::len).max().unwrap_or(0) + 1;
    for row in cells.chunks((WIDTH / width).max(1)) {
        let line: String = row.iter().map(|cell| format!("{cell:width$}")).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CallsArgs, RouteName, execute};

    fn print(route: Option<RouteName>, json: bool) -> String {
        let mut out = Vec::new();
        execute(&CallsArgs { route, json }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_call_is_listed_once() {
        let all = print(None, false).replace('\n', " \n");
        for cell in ["39 getpid", "0 read", "57 fork ENOSYS"] {
            assert_eq!(all.matches(&format!(" {cell} ")).count(), 1, "{cell}");
        }
        let local = print(Some(RouteName::Local), false);
        assert!(local.contains(" getpid") && !local.contains(" fork"));
    }

    #[test]
    fn data_has_the_documented_keys() {
        let json: serde_json::Value = serde_json::from_str(&print(None, true)).unwrap();
        let fork = json.as_array().unwrap().iter().find(|call| call["name"] == "fork").unwrap();
        assert_eq!(fork["nr"], 57);
        assert_eq!(fork["route"], "refuse");
        assert_eq!(fork["errno"], "ENOSYS");
        assert_eq!(json[0]["errno"], serde_json::Value::Null);
    }
}
