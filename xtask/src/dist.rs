//! `dist/`: the folder that runs anywhere, `margay` with its parts beside it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::{cargo, run},
    error::Error,
    paths, service,
};

/// Everything on the Linux side is static, so that `dist/` runs on any distribution and in the virtual node.
pub const MUSL: &str = "x86_64-unknown-linux-musl";
/// The LWK has no operating system under it.
const BARE: &str = "x86_64-unknown-none";

/// Flags of all code in the LWK, given here and nowhere else:
/// - frame pointers, so that a panic report can show a backtrace without unwind tables;
/// - linked for one address in the top 2 GiB: no relocation at boot, and 32-bit displacements everywhere.
const BARE_FLAGS: &str = r#"target.x86_64-unknown-none.rustflags=["-Cforce-frame-pointers=yes","-Crelocation-model=static","-Ccode-model=kernel"]"#;

/// Drops debug information but keeps symbols: reports name functions.
const KEEP_SYMBOLS: &str = r#"profile.release.strip="debuginfo""#;

/// How everything is built; [`KEEP_SYMBOLS`] follows.
const RELEASE: [&str; 3] = ["--release", "--quiet", "--config"];

/// Where `margay` finds what a service VM boots, beside itself.
const SERVICE: &str = "service";

/// A service VM's first process, or a service of a distribution in it.
const AGENT: &str = "margay-agent";

/// The folder and what is in it.
pub struct Dist {
    /// Where it is.
    pub dir: PathBuf,
    files: Vec<(String, u64)>,
}

impl Dist {
    /// Prints the size of each file.
    pub fn print_sizes(&self) {
        println!("{}", self.dir.display());
        for (name, bytes) in &self.files {
            println!("  {name:<24} {:>8.1} KiB", *bytes as f64 / 1024.0);
        }
    }
}

/// Adds the options that compile for the bare machine; shared by the build and the checks.
pub fn bare(mut cargo: std::process::Command) -> std::process::Command {
    cargo.args(["--target", BARE, "--config", BARE_FLAGS]);
    cargo
}

/// Builds everything in release mode and fills `dist/`.
pub fn build() -> Result<Dist, Error> {
    build_static("-p margay-vmm -p margay-proxy -p margay-agent -p margay-bench")?;
    let mut lwk = bare(cargo("build -p lwk-guest"));
    lwk.args(RELEASE).arg(KEEP_SYMBOLS);
    run(&mut lwk)?;
    fill()
}

/// Builds `dist/service/` and what is in it, and nothing else.
pub fn build_service() -> Result<PathBuf, Error> {
    build_static("-p margay-proxy -p margay-agent -p margay-bench")?;
    fill_service()?;
    Ok(paths::dist().join(SERVICE))
}

/// Builds programs of the Linux side.
fn build_static(packages: &str) -> Result<(), Error> {
    let mut build = cargo("build");
    build.args(packages.split(' ')).args(RELEASE).arg(KEEP_SYMBOLS).args(["--target", MUSL]);
    run(&mut build)
}

fn fill() -> Result<Dist, Error> {
    let dir = paths::dist();
    let nodes = dir.join("nodes");
    fs::create_dir_all(&nodes).map_err(Error::io("create", &nodes))?;
    let mut files = Vec::new();
    for (target, name) in
        [(MUSL, "margay"), (MUSL, "margay-proxy"), (BARE, "margay-lwk"), (MUSL, "margay-bench")]
    {
        let built = paths::target().join(target).join("release").join(name);
        let bytes = copy(&built, &dir.join(name))?;
        files.push((name.to_owned(), bytes));
    }
    let examples = paths::root().join("images/nodes");
    for entry in fs::read_dir(&examples).map_err(Error::io("read", &examples))? {
        let entry = entry.map_err(Error::io("read", &examples))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = copy(&entry.path(), &nodes.join(&name))?;
        files.push((format!("nodes/{name}"), bytes));
    }
    files[4..].sort();
    files.extend(fill_service()?);
    Ok(Dist { dir, files })
}

/// Kernel and initramfs of a service VM; and the agent, for who boots a distribution of his own.
fn fill_service() -> Result<[(String, u64); 3], Error> {
    let dir = paths::dist().join(SERVICE);
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let built = paths::target().join(MUSL).join("release");
    let images = service::build(&built)?;
    let agent = copy(&built.join(AGENT), &dir.join(AGENT))?;
    let kernel = copy(&images.kernel, &dir.join("vmlinuz"))?;
    let (initramfs, new) = (dir.join("initramfs"), dir.join("initramfs.new"));
    fs::write(&new, &images.initramfs).map_err(Error::io("write", &new))?;
    fs::rename(&new, &initramfs).map_err(Error::io("write", &initramfs))?;
    let name = |file: &str| format!("{SERVICE}/{file}");
    let initramfs = images.initramfs.len() as u64;
    Ok([(name("vmlinuz"), kernel), (name("initramfs"), initramfs), (name(AGENT), agent)])
}

/// Copies by a rename, so that a running program of the old build keeps its file.
fn copy(from: &Path, to: &Path) -> Result<u64, Error> {
    let new = to.with_extension("new");
    let bytes = fs::copy(from, &new).map_err(Error::io("copy", from))?;
    fs::rename(&new, to).map_err(Error::io("write", to))?;
    Ok(bytes)
}
