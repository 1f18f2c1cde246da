//! What the subcommands with a node file have in common.

use crate::config::{LwkConfig, Mistake, NodeConfig, NodeFileError};
use crate::partition::{self, LwkPlan, Partition, Resources, ServiceKind};
use crate::program::ProgramFile;

/// Resolves a node on a host.
pub(super) fn resolve(node: &NodeConfig, host: &Resources) -> Result<Partition, NodeFileError> {
    partition::resolve(node, host).map_err(|mistakes| node.mistaken(mistakes))
}

/// Makes sure that each program that the node file names could be run. Those of a service VM are not on this host.
pub(super) fn check_programs(
    node: &NodeConfig,
    partition: &Partition,
) -> Result<(), NodeFileError> {
    if let ServiceKind::Vm(_) = partition.service.kind {
        return Ok(());
    }
    let lwks = node.lwks.iter().zip(&partition.lwks);
    let mistakes: Vec<Mistake> = lwks.filter_map(|(config, lwk)| program(config, lwk)).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(node.mistaken(mistakes)) }
}

/// What is wrong with an LWK's program.
fn program(config: &LwkConfig, lwk: &LwkPlan) -> Option<Mistake> {
    let program = config.program.as_ref()?;
    let span = program.span.clone();
    match ProgramFile::open(&program.value) {
        Ok(file) => {
            let problem = lwk.check_fits(&file.image).err()?;
            Some(Mistake::new(config.memory.span.clone().or(span), &problem))
        }
        Err(error) => Some(Mistake::new(span, &error)),
    }
}
