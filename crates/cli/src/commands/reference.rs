//! `windlass reference`: the help of every command as one page, which is `docs/reference/cli.md`.

use clap::{Args, Command, CommandFactory};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the help of every command as Markdown
#[derive(Args, Debug)]
pub struct Reference {}

impl Reference {
    /// Prints it.
    pub fn run() -> Result<(), Failure> {
        output::data(&page())
    }
}

/// Wide enough for tables, narrow enough for a page.
const WIDTH: usize = 100;

/// The page. It does not depend on the terminal or the environment of whoever makes it.
fn page() -> String {
    let mut page = "# Command line\n\nMade by `cargo xtask gen` from the program's own help.\n".to_owned();
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    section(&root, &mut page);
    page
}

fn section(command: &Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut shown = command.clone().term_width(WIDTH).mut_args(|arg| arg.hide_env_values(true));
    let help = shown.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    page.extend(["\n## ", name, "\n\n```text\n", lines.join("\n").trim_end(), "\n```\n"]);
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        section(child, page);
    }
}

#[cfg(test)]
mod tests {
    /// The words of the help are reviewed where they are read: in the page.
    #[test]
    fn the_page_is_up_to_date() {
        let kept = include_str!("../../../../docs/reference/cli.md");
        assert!(
            kept == super::page(),
            "docs/reference/cli.md is old; run `cargo xtask gen` and read the difference"
        );
    }
}
