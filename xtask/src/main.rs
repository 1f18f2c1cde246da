//! Building, testing and showing Margay: what `./x` calls once the machine has the tools.
//!
//! In Rust rather than shell because most of it is about processes, pipes and files that must be exact: the virtual
//! node passes a command's output byte for byte. [`dist`] builds the shippable folder, [`service`] what a service VM boots, [`programs`] the programs that
//! tests run, [`node`] the virtual node, [`mod@test`] everything that must hold, [`demo`] what a newcomer sees first.

use std::process::ExitCode;

use clap::Parser;

mod command;
mod demo;
mod dist;
mod error;
mod node;
mod paths;
mod programs;
mod rootfs;
mod service;
mod test;

use error::Error;

#[derive(Parser)]
#[command(name = "x", bin_name = "./x", about = "Builds, tests and shows Margay")]
enum Task {
    /// Builds dist/: margay, its parts beside it, the benchmark and example nodes.
    Build,
    /// Boots the virtual node and runs a command in it; output and exit status are the command's.
    Node(node::NodeArgs),
    /// Runs all checks and tests: style, unit tests, whole-system tests here and in the virtual node.
    Test(test::TestArgs),
    /// Builds, runs a first program in the LWK and compares speeds with the host; or shows a node's life in the virtual node.
    Demo(demo::DemoArgs),
    /// Downloads the kernel of the virtual node and of service VMs, packs the latter's initramfs, builds the test programs.
    Images,
    /// Removes everything that was built or downloaded.
    Clean,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Build => dist::build().map(|dist| {
            dist.print_sizes();
            ExitCode::SUCCESS
        }),
        Task::Node(args) => node::run_for_user(&args),
        Task::Test(args) => test::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Images => images(),
        Task::Clean => clean(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("x: {}", error::chain(&error));
        ExitCode::FAILURE
    })
}

fn images() -> Result<ExitCode, Error> {
    let service = dist::build_service()?;
    println!("service   {}", service.display());
    let programs = programs::build()?;
    println!("programs  {} in {}", programs.count, programs.dir.display());
    Ok(ExitCode::SUCCESS)
}

fn clean() -> Result<ExitCode, Error> {
    for dir in [paths::target(), paths::dist()] {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
