//! What people see and type.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use fluent_bundle::FluentValue;
use serde::Serialize;
use warifu_api::wire::agent::{CardEnd, CardInReader, PinText, Status};
use warifu_texts::{Explained, Texts};
use warifu_token_agent::texts::AgentTexts as _;
use zeroize::Zeroizing;

use crate::args::PinArgs;
use crate::fault::Fault;

/// The person's terminal, or the program that reads the JSON.
pub(crate) struct Screen {
    pub(crate) texts: Texts,
    pub(crate) json: bool,
}

impl Screen {
    /// Prints a message for people.
    pub(crate) fn say(&self, id: &str, values: &[(&str, FluentValue<'_>)]) {
        if !self.json {
            write_line(&self.texts.with(id, values));
        }
    }

    /// Prints a line that was made from texts before.
    pub(crate) fn line(&self, line: &str) {
        if !self.json {
            write_line(line);
        }
    }

    /// Prints an answer for programs.
    pub(crate) fn answer(&self, answer: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(answer)
        {
            write_line(&text);
        }
    }

    /// What happened, and what to do.
    pub(crate) fn explain(&self, explained: &Explained) {
        if !self.json {
            write_line(&explained.what);
            self.texts.guidance(explained, None).iter().for_each(|line| write_line(line));
        }
    }

    pub(crate) fn status(&self, status: &Status) {
        self.answer(status);
        if let Some(name) = &status.organization {
            self.say("organization", &[("name", name.as_str().into())]);
        }
        for state in std::iter::once(&status.state).chain(&status.others) {
            self.explain(&self.texts.state(state));
        }
        if !status.brought.is_empty() {
            let units = status.brought.join(self.texts.separator());
            self.say("brought", &[("units", units.into())]);
        }
        status.ends.iter().filter_map(|end| self.texts.end(end)).for_each(|end| self.explain(&end));
        self.helpdesk(status.helpdesk.as_deref());
    }

    /// What ends soon and was not told today, on standard error: it is not what was asked for.
    pub(crate) fn news(&self, ends: &[CardEnd]) {
        if self.json {
            return;
        }
        for end in ends.iter().filter(|end| end.news).filter_map(|end| self.texts.end(end)) {
            complain_line(&end.what);
            self.complain_remedy(&end);
        }
    }

    pub(crate) fn helpdesk(&self, helpdesk: Option<&str>) {
        if let Some(helpdesk) = helpdesk {
            self.say("helpdesk", &[("helpdesk", helpdesk.into())]);
        }
    }

    /// A fault goes to standard error, with whom to call.
    pub(crate) fn fault(&self, fault: &Fault, helpdesk: Option<&str>) {
        if self.json {
            if let Ok(text) = serde_json::to_string(&fault.json(&self.texts, helpdesk)) {
                write_line(&text);
            }
            return;
        }
        complain_line(&self.texts.complaint(&fault.explained(&self.texts), helpdesk));
    }

    /// What to do about a fault.
    pub(crate) fn complain_remedy(&self, explained: &Explained) {
        if !self.json {
            self.texts.guidance(explained, None).iter().for_each(|line| complain_line(line));
        }
    }

    /// Whom to call about the faults above.
    pub(crate) fn complain_helpdesk(&self, helpdesk: Option<&str>) {
        if let Some(helpdesk) = helpdesk {
            self.complain("helpdesk", &[("helpdesk", helpdesk.into())]);
        }
    }

    /// A line on standard error; programs read the answer instead.
    pub(crate) fn complain(&self, id: &str, values: &[(&str, FluentValue<'_>)]) {
        if !self.json {
            complain_line(&self.texts.with(id, values));
        }
    }

    /// Whether there is somebody, or something, to ask for a PIN.
    pub(crate) fn can_ask(&self, args: &PinArgs) -> bool {
        args.pin_stdin || std::io::stdin().is_terminal()
    }

    /// Asks whether to go on. Where nobody can be asked, or programs read the answer, it has to be said on the command line.
    pub(crate) fn agrees(&self, question: &str, args: &PinArgs) -> Result<bool, Fault> {
        if self.json || args.pin_stdin || !std::io::stdin().is_terminal() {
            return Err(Fault::NobodyToAsk);
        }
        eprint!("{}", self.texts.get(question));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(|_| Fault::NobodyToAsk)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "はい" | "ｙ"))
    }

    /// Asks for a card's PIN, with the tries left; and before the last one, whether to go on. The PIN, and whether the
    /// last try may be spent.
    pub(crate) fn pin(&self, args: &PinArgs, card: &CardInReader) -> Result<(PinText, bool), Fault> {
        let mut spend_last_try = args.spend_last_try;
        if args.pin_stdin {
            let mut line = Zeroizing::new(String::new());
            std::io::stdin().lock().read_line(&mut line).map_err(|_| Fault::PinNotEntered)?;
            return Ok((PinText(Zeroizing::new(line.trim_end().to_owned())), spend_last_try));
        }
        if !self.can_ask(args) {
            return Err(Fault::PinNotEntered);
        }
        let values = [("serial", card.serial.to_string().into()), ("tries_left", card.tries_left.into())];
        if card.tries_left == 1 && !spend_last_try {
            eprint!("{}", self.texts.with("pin-last-try", &values));
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer).map_err(|_| Fault::PinNotEntered)?;
            spend_last_try = matches!(answer.trim(), "yes" | "はい");
            if !spend_last_try {
                return Err(Fault::LastTryKept);
            }
        }
        let prompt = self.texts.with("pin-prompt", &values);
        let pin = rpassword::prompt_password(prompt).map_err(|_| Fault::PinNotEntered)?;
        Ok((PinText(Zeroizing::new(pin)), spend_last_try))
    }
}

fn complain_line(line: &str) {
    // Nowhere to complain where standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn write_line(line: &str) {
    // A reader that has gone, such as `head`, is no fault.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
