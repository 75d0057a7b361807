//! What the agent and its command line say, and what the agent's faults and states mean to people.

use fluent_bundle::FluentValue;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::{AgentFault, AgentState, CardEnd, Ending};
use warifu_texts::day::{self, Near};
use warifu_texts::{Explained, Message, Sources, Spoken, Texts, system};

use crate::profile::ProfileError;
use crate::run::RunError;

/// The texts of the agent and of `warifu`. Other programs put theirs beside them.
pub const AGENT: Sources =
    Sources { ja: include_str!("../locales/ja/warifu.ftl"), en: include_str!("../locales/en/warifu.ftl") };

/// The texts of `warifu-agent`, the program.
pub const AGENT_PROGRAM: Sources =
    Sources { ja: include_str!("../locales/ja/agent.ftl"), en: include_str!("../locales/en/agent.ftl") };

/// With what the names of states begin, and of those of a card that routes and opens nothing.
const STATE: &str = "state";
const STATE_OF_A_DISPATCHER: &str = "routing-state";

/// What the agent's answers mean, from texts that [`AGENT`] is among.
pub trait AgentTexts {
    /// What an agent's fault means to a person.
    #[must_use]
    fn fault(&self, fault: &AgentFault) -> Explained;

    /// What a service's refusal means to a person.
    #[must_use]
    fn code(&self, code: ErrorCode) -> Explained;

    /// What the agent's state means to a person.
    #[must_use]
    fn state(&self, state: &AgentState) -> Explained;

    /// What ends soon, the more sharply the nearer it is; none where there is time.
    #[must_use]
    fn end(&self, end: &CardEnd) -> Option<Explained>;
}

impl AgentTexts for Texts {
    fn fault(&self, fault: &AgentFault) -> Explained {
        if let AgentFault::SiteRefused { code } = fault {
            return self.code(*code);
        }
        tagged(self, "fault", serde_json::to_value(fault).ok(), None)
    }

    fn code(&self, code: ErrorCode) -> Explained {
        let name = serde_json::to_value(code).ok();
        let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or("internal");
        self.explained(&format!("code-{name}"), &[])
    }

    fn state(&self, state: &AgentState) -> Explained {
        if let AgentState::Refused { code: Some(code), .. } = state {
            return self.code(*code);
        }
        let AgentState::Open { lease_left_ms, units, desks, .. } = state else {
            return tagged(self, STATE, serde_json::to_value(state).ok(), None);
        };
        let opens_none = units.is_empty() && !desks.is_empty();
        let tag = if opens_none { STATE_OF_A_DISPATCHER } else { STATE };
        let mut value = serde_json::to_value(state).ok();
        if let Some(serde_json::Value::Object(fields)) = &mut value
            && let Some(variant) = fields.remove(STATE)
        {
            fields.insert(tag.to_owned(), variant);
        }
        tagged(self, tag, value, Some(lease_left_ms.div_ceil(60_000)))
    }

    fn end(&self, end: &CardEnd) -> Option<Explained> {
        let what = match end.what {
            Ending::Contract => "contract",
            Ending::LastDay => "leaving",
            Ending::Certificate => "certificate",
        };
        let near = Near::of(end.days_left)?.suffix();
        let values = [
            ("serial", end.serial.to_string().into()),
            ("last_day", day::said(&end.last_day, self.language()).into()),
            ("days", end.days_left.into()),
        ];
        Some(self.explained(&format!("ends-{what}-{near}"), &values))
    }
}

/// A value of an enum that serde tags with `tag`: the message is `tag-variant`, its fields are the values.
fn tagged(texts: &Texts, tag: &str, value: Option<serde_json::Value>, minutes: Option<u64>) -> Explained {
    let Some(serde_json::Value::Object(fields)) = value else {
        return texts.explained(tag, &[]);
    };
    let variant = fields.get(tag).and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut values: Vec<(&str, FluentValue<'_>)> = fields
        .iter()
        .filter(|(name, _)| *name != tag)
        .map(|(name, value)| (name.as_str(), plain(texts, value)))
        .collect();
    values.extend(minutes.map(|minutes| ("lease_minutes", minutes.into())));
    texts.explained(&format!("{tag}-{variant}"), &values)
}

fn plain<'a>(texts: &Texts, value: &'a serde_json::Value) -> FluentValue<'a> {
    match value {
        serde_json::Value::String(text) if texts.has(&format!("code-{text}")) => {
            texts.get(&format!("code-{text}")).into()
        }
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Number(number) => match number.as_u64() {
            // As text: a serial number has no thousands.
            Some(number) if number >= 1000 => number.to_string().into(),
            Some(number) => number.into(),
            None => number.to_string().into(),
        },
        serde_json::Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
            items.join(texts.separator()).into()
        }
        serde_json::Value::Null => "—".into(),
        other => other.to_string().into(),
    }
}

impl Spoken for RunError {
    fn message(&self) -> Message {
        let about = |id: &'static str, source| Message::new(id).with_message("why", system(source));
        match self {
            // Another agent has claimed it.
            Self::Runtime(source) if source.kind() == std::io::ErrorKind::AddrInUse => {
                Message::new("run-twice")
            }
            Self::Runtime(source) => about("run-folder-unusable", source),
            Self::Profile(ProfileError::Read(source)) => about("run-profile-unreadable", source),
            Self::Profile(ProfileError::NotTrustworthy { why }) => {
                Message::new("run-profile-not-trustworthy").with("why", why)
            }
            Self::Listen(source) => about("run-cannot-listen", source),
            Self::Randomness => Message::new("run-randomness"),
            Self::Bootstrap(source) => about("run-bootstrap-unwritable", source),
        }
    }
}
