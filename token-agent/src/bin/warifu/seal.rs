//! `warifu seal`: needs no card, and with `age1tag1…` recipients no agent either.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use warifu_api::wire::UnitEntry;
use warifu_envelope::{Overwrite, SealError, UnitRecipient, WholeError, seal, write_whole};
use warifu_split_key::point::Point;
use warifu_token_agent::client::AgentClient;

use crate::fault::Fault;
use crate::open::bar;
use crate::screen::Screen;

const RECIPIENT: &str = "age1";

/// One call of `warifu seal`.
pub(crate) struct Sealing<'a> {
    pub(crate) recipients: &'a [String],
    pub(crate) files: &'a [PathBuf],
    pub(crate) out: Option<&'a Path>,
    pub(crate) overwrite: bool,
    pub(crate) armor: bool,
}

/// Why a file was not sealed.
#[derive(Debug, thiserror::Error)]
enum NotSealed {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Whole(#[from] WholeError),
}

impl Sealing<'_> {
    pub(crate) async fn run(
        &self,
        screen: &Screen,
        agent: impl FnOnce() -> Result<AgentClient, Fault>,
    ) -> Result<(), Fault> {
        if self.out.is_some() && self.files.len() != 1 {
            return Err(Fault::OneOutput);
        }
        let (keys, names) = self.resolve(agent).await?;
        let mut sealed = Vec::new();
        for file in self.files {
            let out = self.out.map_or_else(|| with_suffix(file), Path::to_owned);
            let bytes = self.one(screen, file, &out, &keys)?;
            let names = names.join(screen.texts.separator());
            let (shown, out) = (file.to_string_lossy(), out.to_string_lossy());
            screen.say(
                "sealed",
                &[("file", shown.clone().into()), ("out", out.clone().into()), ("units", names.into())],
            );
            sealed.push(json!({ "file": shown, "out": out, "bytes": bytes }));
        }
        screen.answer(&json!({ "sealed": sealed }));
        Ok(())
    }

    /// The keys, and what people call them.
    async fn resolve(
        &self,
        agent: impl FnOnce() -> Result<AgentClient, Fault>,
    ) -> Result<(Vec<Point>, Vec<String>), Fault> {
        let named = self.recipients.iter().any(|recipient| !recipient.starts_with(RECIPIENT));
        let units = if named { agent()?.directory().await?.units } else { Vec::new() };
        let (mut keys, mut names) = (Vec::new(), Vec::new());
        for recipient in self.recipients {
            let (text, name) = match recipient.starts_with(RECIPIENT) {
                true => (recipient.clone(), recipient.clone()),
                false => {
                    let unit = find(&units, recipient)?;
                    let text = unit.recipient.clone();
                    (
                        text.ok_or_else(|| Fault::UnitWithoutKey { unit: unit.label.clone() })?,
                        unit.name.clone(),
                    )
                }
            };
            let key = UnitRecipient::parse(&text).map_err(|error| Fault::RecipientMalformed {
                recipient: recipient.clone(),
                why: error.to_string(),
            })?;
            if !keys.contains(&key) {
                keys.push(key);
                names.push(name);
            }
        }
        Ok((keys, names))
    }

    fn one(&self, screen: &Screen, file: &Path, out: &Path, keys: &[Point]) -> Result<u64, Fault> {
        let failed = |error: &dyn std::error::Error| {
            let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            Fault::Seal { file: file.to_string_lossy().into_owned(), why }
        };
        let input = File::open(file).map_err(|error| failed(&error))?;
        let bar = bar(screen.texts.get("sealing"));
        if screen.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        bar.set_length(input.metadata().map_err(|error| failed(&error))?.len());
        let overwrite = if self.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
        let sealed = write_whole(out, overwrite, |output| {
            seal(keys, self.armor, bar.wrap_read(&input), output).map_err(NotSealed::from)
        });
        bar.finish_and_clear();
        sealed.map_err(|error| failed(&error))
    }
}

/// A unit by its label, name or id.
pub(crate) fn find<'a>(units: &'a [UnitEntry], wanted: &str) -> Result<&'a UnitEntry, Fault> {
    // Where several fit, none is meant for certain.
    fn only<'a>(mut found: impl Iterator<Item = &'a UnitEntry>) -> Option<&'a UnitEntry> {
        found.next().filter(|_| found.next().is_none())
    }
    if units.iter().any(|unit| unit.label == wanted) {
        return only(units.iter().filter(|unit| unit.label == wanted))
            .ok_or_else(|| Fault::UnitUnknown { unit: wanted.to_owned() });
    }
    let named = units.iter().filter(|unit| unit.name == wanted || unit.unit.to_string() == wanted);
    only(named).ok_or_else(|| Fault::UnitUnknown { unit: wanted.to_owned() })
}

fn with_suffix(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".age");
    PathBuf::from(name)
}
