//! What the subcommands with a node file have in common.

use crate::config::{Mistake, NodeConfig, NodeFileError};
use crate::partition::{self, Partition, Resources};
use crate::program::ProgramFile;

/// Resolves a node on a host.
pub(super) fn resolve(node: &NodeConfig, host: &Resources) -> Result<Partition, NodeFileError> {
    partition::resolve(node, host).map_err(|mistakes| node.mistaken(mistakes))
}

/// Makes sure that the program of a node file, if it names one, could be run.
pub(super) fn check_program(node: &NodeConfig, partition: &Partition) -> Result<(), NodeFileError> {
    let Some(program) = &node.lwk.program else { return Ok(()) };
    let span = program.span.clone();
    let mistake = match ProgramFile::open(&program.value) {
        Ok(file) => match partition.lwk.check_fits(&file.image) {
            Ok(()) => return Ok(()),
            Err(problem) => Mistake::new(node.lwk.memory.span.clone().or(span), &problem),
        },
        Err(error) => Mistake::new(span, &error),
    };
    Err(node.mistaken(vec![mistake]))
}
