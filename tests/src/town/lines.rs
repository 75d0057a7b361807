//! Places behind lines that can be cut: networks of their own, each at the end of a pair of virtual interfaces.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{RELAY, Town};
use crate::process::{must, run, within};

/// Where the authority is reached once there are lines: an address that belongs to no line.
pub(super) const CENTRE: &str = "10.77.255.1";
/// A second town's lines are so many further on.
const LINES_OF_ONE: usize = 16;
/// The listener that a town apart shows to others.
const PUBLIC: &str = "public";

/// The line to one place. The place is a network namespace of the line's name.
pub(super) struct Line {
    number: u8,
    /// The end of it that lies in the centre.
    here: String,
}

impl Line {
    /// The address at the place's end.
    pub(super) fn far_address(&self) -> String {
        format!("10.77.{}.2", self.number)
    }
}

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    must(command, b"").map(|_| ())
}

impl Town {
    /// A place that is reached by a line alone. Call it before anything listens.
    ///
    /// # Errors
    /// Where this machine has no network namespaces.
    pub fn lay_line(&mut self, place: &str) -> Result<()> {
        if self.lines.is_empty() {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        }
        self.lay_line_to(place, "default")
    }

    /// All of this town is at a place of its own, from which no route leads anywhere but to the centre: there, others reach its
    /// public listener, by a relay, and nothing else of it. Call it before anything listens.
    ///
    /// # Errors
    /// Where this machine has no network namespaces.
    pub fn live_apart(&mut self, place: &str) -> Result<()> {
        self.lay_line_to(place, CENTRE)?;
        self.home = Some(place.to_owned());
        self.put_relay_before(PUBLIC)
    }

    fn lay_line_to(&mut self, place: &str, reached: &str) -> Result<()> {
        ip(&format!("addr replace {CENTRE}/32 dev lo"))?;
        let number = u8::try_from(usize::from(self.number) * LINES_OF_ONE + self.lines.len() + 1)?;
        let (here, near) = (format!("line{number}"), format!("10.77.{number}.1"));
        ip(&format!("netns add {place}"))?;
        ip(&format!("link add {here} type veth peer name line netns {place}"))?;
        ip(&format!("addr add {near}/30 dev {here}"))?;
        ip(&format!("link set {here} up"))?;
        let line = Line { number, here };
        let far = line.far_address();
        for words in [
            &format!("addr add {far}/30 dev line"),
            "link set lo up",
            "link set line up",
            &format!("route add {reached} via {near}"),
        ] {
            ip(&format!("-n {place} {words}"))?;
        }
        self.lines.insert(place.to_owned(), line);
        Ok(())
    }

    /// Whatever is called so will run at that place.
    pub fn put_at(&mut self, name: &str, place: &str) {
        self.places.insert(name.to_owned(), place.to_owned());
    }

    /// Nothing comes through any more, and nobody is told.
    ///
    /// # Errors
    /// Where there is no such line.
    pub fn cut_line(&self, place: &str) -> Result<()> {
        ip(&format!("link set {} down", self.line(place)?.here))
    }

    /// It is as it was.
    ///
    /// # Errors
    /// Where there is no such line.
    pub fn mend_line(&self, place: &str) -> Result<()> {
        ip(&format!("link set {} up", self.line(place)?.here))
    }

    /// By which names services of another town answer to whoever is at this one, and how many do not.
    ///
    /// # Errors
    /// Where nothing can be tried.
    pub fn reaches(&self, other: &mut Self) -> Result<(Vec<String>, usize)> {
        let names: Vec<String> = other.ports.keys().filter(|name| !name.ends_with(RELAY)).cloned().collect();
        let (mut answer, mut silent) = (Vec::new(), 0);
        for name in names {
            let address = other.address(&name)?;
            let (host, port) = address.rsplit_once(':').context("an address")?;
            let mut connect = within(self.home.as_deref(), "timeout".as_ref());
            connect.args(["10", "bash", "-c", &format!("exec 3<>/dev/tcp/{host}/{port}")]);
            if run(connect, b"")?.status.success() { answer.push(name) } else { silent += 1 }
        }
        Ok((answer, silent))
    }

    fn line(&self, place: &str) -> Result<&Line> {
        self.lines.get(place).with_context(|| format!("no line to {place}"))
    }

    /// Where a service is reached.
    pub(super) fn host(&self, name: &str) -> String {
        let placed = self.place_of(name).and_then(|place| self.lines.get(place));
        match placed {
            Some(line) => line.far_address(),
            None if self.lines.is_empty() => "127.0.0.1".to_owned(),
            None => CENTRE.to_owned(),
        }
    }

    /// At which place something runs, if at any.
    pub(super) fn place_of(&self, name: &str) -> Option<&str> {
        // What is between places is at none.
        let home = self.home.as_ref().filter(|_| !name.ends_with(RELAY));
        self.places.get(name).or(home).map(String::as_str)
    }
}
