//! How a town is founded.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CA, KMS, OFFICERS, Town};
use crate::process::{must, run};

impl Town {
    /// Three officers, the ca and the kms found the organization; then both services run.
    pub fn found(&mut self, name: &str) -> Result<()> {
        self.found_after_crashes(name, &[])
    }

    /// As [`Town::found`]; before, the two consoles' commands end themselves at each of these crash points.
    pub fn found_after_crashes(&mut self, name: &str, crashes: &[&str]) -> Result<()> {
        let mut args = self.founding_words(name);
        args.push("--json".to_owned());
        for (flag, path) in self.founding_files() {
            args.extend([flag.to_owned(), path.display().to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer: Value = serde_json::from_str(&self.admin(&args)?)?;
        let organization = answer.get("organization").and_then(Value::as_str).context("organization")?;
        self.accept_founding(organization, crashes)
    }

    /// What `warifu-admin` is told to found this town with, but for the files that it writes.
    #[must_use]
    pub fn founding_words(&self, name: &str) -> Vec<String> {
        let mut args: Vec<String> = ["init", "--org", name].map(str::to_owned).into();
        for (flag, service) in [("--ca", "ca"), ("--kms", "kms")] {
            args.extend([flag.to_owned(), self.statement(service).display().to_string()]);
        }
        for (label, serial, person) in OFFICERS {
            let serial = self.officers_serial(serial);
            args.extend(["--officer".to_owned(), format!("{serial}:{label}:{person}")]);
        }
        args.extend(["--lease-seconds".to_owned(), self.lease_seconds.to_string()]);
        args
    }

    /// The files that it writes then, with the words for them.
    #[must_use]
    pub fn founding_files(&self) -> [(&'static str, PathBuf); 2] {
        [("--out", "founding.json"), ("--records", "records.json")]
            .map(|(flag, name)| (flag, self.folder.join(name)))
    }

    /// The two consoles sign what the officers signed, and both services run; before, the commands end themselves at each of
    /// these crash points.
    pub fn accept_founding(&mut self, organization: &str, crashes: &[&str]) -> Result<()> {
        self.organization = organization.to_owned();
        let [(_, founding), (_, records)] = self.founding_files();
        let (founding, records) =
            (founding.to_str().context("path")?.to_owned(), records.to_str().context("path")?.to_owned());
        let organization = self.organization.clone();
        let found = ["found", &founding, "--fingerprint", &organization];
        let with_records = [&found[..], &["--records", &records]].concat();
        for (service, program, found) in [("ca", CA, &found[..]), ("kms", KMS, &with_records[..])] {
            let console = self.console(service, program, found)?;
            for at in crashes.iter().filter(|at| at.starts_with(service)) {
                let mut command = console.command();
                command.env("WARIFU_CRASH_AT", at);
                let status = run(command, b"")?.status;
                ensure!(status.signal() == Some(9), "{service} did not end at {at}: {status}");
            }
            must(console.command(), b"")?;
        }
        self.start("kms")?;
        self.start("ca")?;
        self.fetch_profile()
    }
}
