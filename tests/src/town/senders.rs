//! Those who seal files and know nothing but recipients: stock tools, none of them ours.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::workspace;
use crate::process::must;

/// Encrypts with stock `rage`, given nothing but recipients.
pub fn rage(recipients: &[String], input: &Path, output: &Path) -> Result<()> {
    let rage = workspace().join(".cache/bin/rage");
    ensure!(rage.is_file(), "rage is not installed: run ./test or ./demo, which install it");
    let mut command = Command::new(rage);
    for recipient in recipients {
        command.arg("-r").arg(recipient);
    }
    command.arg("-o").arg(output).arg(input);
    must(command, b"").map(|_| ())
}

/// Encrypts with the npm package `age-encryption`, which browsers run, given nothing but recipients.
pub fn age_of_browsers(recipients: &[String], input: &Path, output: &Path) -> Result<()> {
    let mut command = Command::new("node");
    command.arg(workspace().join("tests/foreign-senders/seal.mjs")).args(recipients);
    command.stdin(File::open(input)?).stdout(File::create(output)?);
    let status = command.status().context("starting node")?;
    ensure!(status.success(), "age-encryption is not installed: run ./test or ./demo, which install it");
    Ok(())
}
