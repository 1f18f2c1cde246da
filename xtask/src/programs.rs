//! The programs that the whole-system tests run: what ordinary compilers make of `tests/programs/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::{command, run},
    dist::MUSL,
    error::Error,
    paths::{self, is_older},
};

/// The built programs.
pub struct Programs {
    /// The folder that they are in.
    pub dir: PathBuf,
    /// How many there are.
    pub count: usize,
}

/// Ways to build a C program: the suffix of its name, the compiler, how it links.
const C_BUILDS: [(&str, &str, &str); 4] = [
    ("glibc", "gcc", "-static"),
    ("musl", "musl-gcc", "-static"),
    ("pie", "gcc", "-static-pie"),
    ("dynamic", "gcc", "-pie"),
];

/// Builds what is missing or older than its source.
pub fn build() -> Result<Programs, Error> {
    let sources = paths::root().join("tests/programs");
    let dir = paths::target().join("programs");
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let mut count = 0;
    for entry in fs::read_dir(&sources).map_err(Error::io("read", &sources))? {
        let source = entry.map_err(Error::io("read", &sources))?.path();
        for (name, mut compile) in builds_of(&source) {
            let program = dir.join(name);
            count += 1;
            if is_older(&program, &source) {
                run(compile.arg("-o").arg(&program).arg(&source).args(libraries(&source)))?;
            }
        }
    }
    Ok(Programs { dir, count })
}

/// Names of the programs made from a source, each with its compiler's command so far.
fn builds_of(source: &Path) -> Vec<(String, Command)> {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut build = Vec::new();
    match source.extension().and_then(|extension| extension.to_str()) {
        Some("c") => {
            for (suffix, compiler, link) in C_BUILDS {
                let mut compile = command(compiler);
                compile.args(["-O2", "-Wall", "-Wextra", "-Werror", "-s", link]);
                build.push((format!("{stem}.{suffix}"), compile));
            }
        }
        Some("f90") => {
            let mut compile = command("gfortran");
            compile.args(["-O2", "-Wall", "-s", "-static"]);
            build.push((format!("{stem}.fortran"), compile));
        }
        Some("rs") => {
            let mut compile = command("rustc");
            compile.args(["--edition=2024", "-O", "-Cstrip=symbols", "--target", MUSL]);
            build.push((format!("{stem}.rust"), compile));
        }
        Some("go") => {
            let mut compile = command("go");
            compile.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
            compile.args(["build", "-ldflags=-s -w"]);
            build.push((format!("{stem}.go"), compile));
        }
        _ => {}
    }
    build
}

/// What must follow the source on a C compiler's command line.
fn libraries(source: &Path) -> &'static [&'static str] {
    if source.extension().is_some_and(|extension| extension == "c") { &["-lm"] } else { &[] }
}
