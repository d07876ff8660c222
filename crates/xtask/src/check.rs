//! `cargo xtask check`, `cargo xtask test` and `cargo xtask nightly`.

use anyhow::{Result, bail};

use crate::command::{answers, run, say};
use crate::{generate, layers, links};

/// Everything that needs no test run, cheapest first.
pub fn run_checks() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    layers::check()?;
    links::check()?;
    generate::run(true)?;
    deny()?;
    run("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Licences, bans and sources always; advisories where their database can be reached.
fn deny() -> Result<()> {
    if !answers("cargo", &["deny", "--version"]) {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!("cargo-deny is missing; `cargo install cargo-deny --locked`");
        }
        say(
            "skipped: licences, bans and sources (cargo-deny is missing; `cargo install cargo-deny --locked`)",
        );
        return Ok(());
    }
    run("cargo", &["deny", "--all-features", "check", "licenses", "bans", "sources"])?;
    if answers("cargo", &["deny", "fetch", "db"]) {
        run("cargo", &["deny", "check", "advisories"])?;
    } else {
        say("skipped: advisories (their database cannot be reached)");
    }
    Ok(())
}

/// All tests of the workspace.
pub fn test(rest: &[String]) -> Result<()> {
    let mut args = vec!["test", "--workspace"];
    args.extend(rest.iter().map(String::as_str));
    run("cargo", &args)
}

/// The long checks, optimised: every crash of every scenario, many seeds, and the benchmark's bounds.
pub fn nightly() -> Result<()> {
    let xtask = ["run", "--quiet", "--release", "--package", "xtask", "--"];
    let tasks: [&[&str]; 3] = [
        &["sim", "--exhaustive"],
        &["sim", "--seeds", "200"],
        &["bench", "clusters", "--n", "50", "--enforce"],
    ];
    tasks.iter().try_for_each(|task| run("cargo", &[&xtask, *task].concat()))
}
