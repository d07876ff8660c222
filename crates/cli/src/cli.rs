//! The command line: flags and dispatch.

use clap::{Parser, Subcommand};

use crate::commands::{
    backup::{Backup, Restore},
    completion::Completion,
    describe::Describe,
    down::Down,
    generate::Generate,
    get::Get,
    manager::Manager,
    quickstart::Quickstart,
    reference::Reference,
    up::Up,
    version::Version,
};
use crate::failure::Failure;
use crate::management::ManagementArgs;

/// Create, upgrade, heal and retire Kubernetes clusters
///
/// Speaks the Cluster API (cluster.x-k8s.io/v1beta2). `windlass quickstart` starts a management plane on this
/// machine and a first cluster; kubectl works against both.
#[derive(Parser, Debug)]
#[command(
    name = "windlass",
    version = windlass_manager::VERSION,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done; 1 failed, standard error says why and what to do next; 2 wrong command line.\n\
                  Data goes to standard output, everything else to standard error."
)]
pub struct Cli {
    #[command(flatten)]
    management: ManagementArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Quickstart(Quickstart),
    Up(Up),
    Down(Down),
    Generate(Generate),
    Get(Get),
    Describe(Describe),
    Manager(Manager),
    Backup(Backup),
    Restore(Restore),
    Completion(Completion),
    Version(Version),
    #[command(hide = true)]
    Reference(Reference),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::Generate(command) => command.run(),
            Command::Completion(command) => command.run(),
            Command::Version(command) => command.run(),
            Command::Reference(Reference {}) => Reference::run(),
            Command::Quickstart(command) => block_on(command.run(&self.management)),
            Command::Up(command) => block_on(command.run(&self.management)),
            Command::Down(command) => block_on(command.run(&self.management)),
            Command::Get(command) => block_on(command.run(&self.management)),
            Command::Describe(command) => block_on(command.run(&self.management)),
            Command::Manager(command) => block_on(command.run(&self.management)),
            Command::Backup(command) => block_on(command.run(&self.management)),
            Command::Restore(command) => block_on(command.run(&self.management)),
        }
    }
}

/// Runs a command on a runtime of its own.
fn block_on<F: Future<Output = Result<(), Failure>>>(command: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::caused("cannot start the runtime", error))?;
    // Boxed: a command's future holds whole clients and trees.
    let result = runtime.block_on(Box::pin(command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
