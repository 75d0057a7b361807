//! What people do in a town: their commands, and what these wait for.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{DESK_READERS, Town, until};
use crate::process::{program, run, within};

impl Town {
    /// Runs `warifu-admin` at the officers' desk, with the PINs of the cards there; it has to succeed.
    pub fn admin(&self, args: &[&str]) -> Result<String> {
        let output = self.try_admin(args)?;
        if !output.status.success() {
            bail!(
                "warifu-admin {args:?}: {}\n{}{}\ndesk: {}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                self.log("desk")
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `warifu-admin` at the officers' desk, whatever comes of it.
    pub fn try_admin(&self, args: &[&str]) -> Result<Output> {
        let (command, pins) = self.admin_command(Command::new(program("warifu-admin")?), args)?;
        run(command, pins.as_bytes())
    }

    /// As [`Town::try_admin`], for as long as people wait: then it is ended.
    pub fn try_admin_for(&self, patience: Duration, args: &[&str]) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.arg(patience.as_secs().to_string()).arg(program("warifu-admin")?);
        let (command, pins) = self.admin_command(command, args)?;
        run(command, pins.as_bytes())
    }

    /// A command with the arguments of `warifu-admin` at the officers' desk, and what its standard input has to be: the PINs
    /// of the cards there.
    pub fn admin_command(&self, command: Command, args: &[&str]) -> Result<(Command, String)> {
        let mut command = match self.place_of("desk") {
            Some(place) => {
                let mut there = within(Some(place), command.get_program().as_ref());
                there.args(command.get_args());
                there
            }
            None => command,
        };
        let mut pins = String::new();
        for (label, (reader, _)) in &self.inserted {
            if *reader < DESK_READERS {
                pins.push_str(&format!("{} {}\n", self.card(label)?.serial(), self.pin));
            }
        }
        for serial in self.at_desk.values() {
            pins.push_str(&format!("{serial} {}\n", self.pin));
        }
        command.args(["--agent"]).arg(self.bootstrap("desk")).args(["--pins-stdin", "--yes"]).args(args);
        command.env("XDG_STATE_HOME", self.folder.join("desk").join("home"));
        command.envs(self.verbosity()).envs(self.admin_env.iter().cloned());
        Ok((command, pins))
    }

    /// Runs `warifu` on a member's PC; `pin` goes to its standard input.
    pub fn warifu(&self, agent: &str, args: &[&str], pin: &str) -> Result<Output> {
        run(self.warifu_command(agent, args)?, format!("{pin}\n").as_bytes())
    }

    /// `warifu` on a member's PC.
    pub fn warifu_command(&self, agent: &str, args: &[&str]) -> Result<Command> {
        let mut command = within(self.place_of(agent), &program("warifu")?);
        command.arg("--agent").arg(self.bootstrap(agent)).args(args).envs(self.verbosity());
        Ok(command)
    }

    /// Waits until a PC's agent sees a card.
    pub fn wait_for_member_card(&self, agent: &str) -> Result<()> {
        until("the card is seen", Duration::from_secs(10), || {
            let status = self.status(agent)?;
            let state = status.pointer("/state/state").and_then(Value::as_str);
            Ok(state.is_some_and(|state| !matches!(state, "no-card" | "no-reader" | "no-reader-service")))
        })
    }

    /// The bootstrap file of an agent.
    #[must_use]
    pub fn bootstrap(&self, agent: &str) -> PathBuf {
        self.folder.join(agent).join("run").join("agent.json")
    }

    /// Enrols a member with a new card at the desk, and takes the card out again.
    pub fn enroll(&mut self, label: &str, serial: u32, name: &str, more: &[&str]) -> Result<()> {
        self.new_card(label, serial)?;
        self.insert(label, DESK_READERS - 1)?;
        self.wait_for_card(serial)?;
        let serial = serial.to_string();
        let mut args = vec!["member", "enroll", label, "--name", name, "--new-card", &serial];
        args.extend(more);
        self.admin(&args)?;
        self.remove(label);
        Ok(())
    }

    /// Waits until the desk's agent sees a card.
    pub fn wait_for_card(&self, serial: u32) -> Result<()> {
        until("the card is seen", Duration::from_secs(10), || {
            let cards: Value =
                serde_json::from_str(&self.admin(&["card", "inspect", "--card-alone", "--json"])?)?;
            let serials = cards.as_array().context("cards")?.iter().filter_map(|card| card.get("serial"));
            Ok(serials.filter_map(Value::as_u64).any(|seen| seen == u64::from(serial)))
        })
    }

    /// What `warifu status --json` says on a member's PC.
    pub fn status(&self, agent: &str) -> Result<Value> {
        let output = self.warifu(agent, &["status", "--json"], "")?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("status: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The recipient of a unit: what a sender is told.
    pub fn recipient(&self, unit: &str) -> Result<String> {
        let answer: Value = serde_json::from_str(&self.admin(&["unit", "recipient", unit, "--json"])?)?;
        Ok(answer.get("recipient").and_then(Value::as_str).context("recipient")?.to_owned())
    }
}
