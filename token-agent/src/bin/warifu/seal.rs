//! `warifu seal`: needs no card, and with `age1tag1…` recipients no agent either.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use warifu_envelope::{Overwrite, SealError, UnitRecipient, WholeError, seal, write_whole};
use warifu_split_key::point::Point;
use warifu_token_agent::addressing::resolve;
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

    /// The keys, each once, and what people call them.
    async fn resolve(
        &self,
        agent: impl FnOnce() -> Result<AgentClient, Fault>,
    ) -> Result<(Vec<Point>, Vec<String>), Fault> {
        let is_key = |recipient: &&String| recipient.starts_with(RECIPIENT);
        let named: Vec<String> = self.recipients.iter().filter(|it| !is_key(it)).cloned().collect();
        let mut units = match named.is_empty() {
            true => Vec::new(),
            false => resolve(&agent()?, &named).await?,
        }
        .into_iter();
        let (mut keys, mut names) = (Vec::new(), Vec::new());
        for recipient in self.recipients {
            let unit = if is_key(&recipient) { None } else { units.next() };
            let (key, name) = match unit {
                Some(unit) => (unit.key, unit.name),
                None => {
                    let key = UnitRecipient::parse(recipient).map_err(|error| Fault::RecipientMalformed {
                        recipient: recipient.clone(),
                        why: error.to_string(),
                    })?;
                    (key, recipient.clone())
                }
            };
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

fn with_suffix(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".age");
    PathBuf::from(name)
}
