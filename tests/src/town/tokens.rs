//! Vendors' tokens: SoftHSM behind an agent's `--card-module`, made at the desk and carried to a member's PC.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Town, until};
use crate::process::must;

/// Debian's SoftHSM, which is the vendor.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

impl Town {
    /// From its next start on, an agent uses the tokens of these labels that lie at its PC.
    ///
    /// # Errors
    /// Where there is no such agent, or SoftHSM is not installed.
    pub fn use_tokens(&mut self, agent: &str, labels: &[&str]) -> Result<()> {
        ensure!(Path::new(MODULE).exists(), "softhsm2 is not installed");
        let vendor = self.vendor(agent);
        let tokens = vendor.join("tokens");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
        let settings = vendor.join("softhsm2.conf");
        fs::write(&settings, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))?;
        let mut words: Vec<OsString> = Vec::new();
        for label in labels {
            let module = self.module(agent, label);
            symlink(MODULE, &module)?;
            words.extend(["--card-module".into(), format!("{}:{label}", module.display()).into()]);
        }
        let recipe = self.recipes.get_mut(agent).with_context(|| format!("no recipe for {agent}"))?;
        // Behind the viewer's words they would be the viewer's.
        recipe.args.splice(0..0, words);
        recipe.env.push(("SOFTHSM2_CONF".into(), settings.into()));
        Ok(())
    }

    /// A token from its maker, with the members' PIN, at an agent's PC.
    ///
    /// # Errors
    /// Where the maker's program fails.
    pub fn new_token(&mut self, agent: &str, label: &str) -> Result<()> {
        let mut command = Command::new("softhsm2-util");
        command.args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "87654321",
            "--pin",
            &self.pin,
        ]);
        command.env("SOFTHSM2_CONF", self.vendor(agent).join("softhsm2.conf"));
        let before = self.tokens_at(agent)?;
        must(command, b"")?;
        let made = self.tokens_at(agent)?.into_iter().find(|token| !before.contains(token));
        self.tokens.insert(label.to_owned(), made.context("no token was made")?);
        Ok(())
    }

    /// Waits until the desk's agent sees a token; its serial number. From now on its PIN is entered there when it is asked for.
    ///
    /// # Errors
    /// Where it is not seen.
    pub fn wait_for_token(&mut self, label: &str) -> Result<u32> {
        let module = format!("{label}.so");
        let mut serial = None;
        until("the token is seen", Duration::from_secs(20), || {
            let words = ["card", "inspect", "--card-alone", "--json"];
            let cards: Value = serde_json::from_str(&self.admin(&words)?)?;
            let mut cards = cards.as_array().into_iter().flatten();
            let is_it = |card: &&Value| {
                card.get("reader").and_then(Value::as_str).is_some_and(|reader| reader.contains(&module))
            };
            serial = cards.find(is_it).and_then(|card| card.get("serial")).and_then(Value::as_u64);
            Ok(serial.is_some())
        })?;
        let serial = u32::try_from(serial.context("no serial number")?)?;
        self.at_desk.insert(label.to_owned(), serial);
        Ok(serial)
    }

    /// Carries a token from one PC to another; neither agent may run meanwhile.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn carry_token(&mut self, label: &str, from: &str, to: &str) -> Result<()> {
        let token = self.tokens.get(label).with_context(|| format!("no token {label}"))?;
        let place = |agent: &str| self.vendor(agent).join("tokens").join(token);
        fs::rename(place(from), place(to))?;
        self.at_desk.remove(label);
        Ok(())
    }

    fn tokens_at(&self, agent: &str) -> Result<Vec<OsString>> {
        let entries = fs::read_dir(self.vendor(agent).join("tokens"))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn vendor(&self, agent: &str) -> PathBuf {
        self.folder.join(agent).join("vendor")
    }

    /// The module by a name of its own, by which its readers are told apart.
    fn module(&self, agent: &str, label: &str) -> PathBuf {
        self.vendor(agent).join(format!("{label}.so"))
    }
}
