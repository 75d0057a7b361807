//! End to end: a whole town of real processes for each test, with readers, reader service and network of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod audit;
mod backups;
mod bad_input;
mod betrayals_page;
mod bulk;
mod changes;
mod clocks;
mod deliveries;
mod doctor;
mod faults_page;
mod founding;
mod four_eyes;
mod kills;
mod leaks;
mod life;
mod lines;
mod monitoring;
mod outages;
mod outside;
mod personal;
mod postgres;
mod road;
mod rotation;
mod routing;
mod scan;
mod scenarios;
mod secrets;
mod siege;
mod startup;
mod systemd;
mod trust;
mod withdrawal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use warifu_tests::town::{Town, rage};
use warifu_virtual_card::readers::Readers;

/// A town with one department, one contractor, and a member of each at his PC, card out.
struct Play {
    town: Town,
    folder: TempDir,
}

impl Play {
    fn new(readers: Readers, lease_seconds: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.lease_seconds = lease_seconds;
        Self::in_town(town, folder)
    }

    fn in_town(mut town: Town, folder: TempDir) -> Self {
        town.found_and_people().unwrap();
        Self { town, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file to both units, sealed by stock rage.
    fn sealed(&self, name: &str, content: &[u8]) -> PathBuf {
        let plain = self.path(name);
        fs::write(&plain, content).unwrap();
        let sealed = self.path(&format!("{name}.age"));
        let recipients = [self.town.recipient("tax").unwrap(), self.town.recipient("acme-team").unwrap()];
        rage(&recipients, &plain, &sealed).unwrap();
        sealed
    }

    /// Starts a site again, and waits until it has a stamp: what it refuses then, it does not refuse for want of one.
    fn restart_site(&mut self, site: &str) {
        self.town.start(site).unwrap();
        self.town.wait_for_lease(site).unwrap();
    }

    fn insert(&mut self, label: &str, agent: &str, reader: usize) {
        self.town.insert(label, reader).unwrap();
        self.card_is_seen(agent);
    }

    fn card_is_seen(&self, agent: &str) {
        self.town.wait_for_member_card(agent).unwrap();
    }

    fn state(&self, agent: &str) -> String {
        let status = self.town.status(agent).unwrap();
        status.pointer("/state/state").and_then(|state| state.as_str()).unwrap_or_default().to_owned()
    }

    /// Tries to open a file by way of an agent.
    fn open(&self, agent: &str, sealed: &Path, more: &[&str]) -> (Output, PathBuf) {
        let out = self.path("out");
        let _ = fs::remove_file(&out);
        let mut args = vec!["--lang", "en", "open", "--pin-stdin", "-o", out.to_str().unwrap()];
        args.extend(more);
        args.push(sealed.to_str().unwrap());
        (self.town.warifu(agent, &args, self.town.pin()).unwrap(), out)
    }

    fn opens(&self, agent: &str, sealed: &Path, content: &[u8]) {
        let (output, out) = self.open(agent, sealed, &[]);
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.town.log(agent)
        );
        assert!(fs::read(out).unwrap() == content, "another content");
    }

    /// What the refusal says.
    fn refuses(&self, agent: &str, sealed: &Path) -> String {
        let (output, out) = self.open(agent, sealed, &[]);
        assert!(!output.status.success(), "it opened");
        assert!(!output.stderr.is_empty(), "{} without a word: {}", output.status, self.town.log(agent));
        assert!(!out.exists(), "something was left behind");
        String::from_utf8(output.stderr).unwrap()
    }
}
