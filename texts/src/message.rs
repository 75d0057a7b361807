//! Messages by name, with what they are about: what a fault says, before anybody knows in which language.

use std::borrow::Cow;
use std::io::{Error, ErrorKind};

use fluent_bundle::FluentValue;

use crate::{Explained, Texts};

/// A message's name and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    id: Cow<'static, str>,
    values: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Message(Message),
}

/// A fault that has words for people.
pub trait Spoken {
    /// What it says. The message has a `.remedy`: the one thing to do.
    fn message(&self) -> Message;
}

impl Message {
    /// The message of this name, which the Fluent files have.
    #[must_use]
    pub fn new(id: impl Into<Cow<'static, str>>) -> Self {
        Self { id: id.into(), values: Vec::new() }
    }

    /// With a value: a name, a number, a path.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.values.push((name, Value::Text(value.to_string())));
        self
    }

    /// With a value that has words of its own in each language.
    #[must_use]
    pub fn with_message(mut self, name: &'static str, value: Self) -> Self {
        self.values.push((name, Value::Message(value)));
        self
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What the operating system said, as a value of another message.
#[must_use]
pub fn system(error: &Error) -> Message {
    let id = match error.kind() {
        ErrorKind::NotFound => "system-not-found",
        ErrorKind::PermissionDenied => "system-not-permitted",
        ErrorKind::AlreadyExists => "system-exists",
        ErrorKind::AddrInUse => "system-address-in-use",
        ErrorKind::AddrNotAvailable => "system-address-not-here",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "system-disk-full",
        ErrorKind::ReadOnlyFilesystem => "system-read-only",
        ErrorKind::IsADirectory => "system-is-a-folder",
        ErrorKind::NotADirectory => "system-not-a-folder",
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "system-nobody-answers"
        }
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "system-broke-off"
        }
        ErrorKind::TimedOut => "system-timed-out",
        ErrorKind::InvalidData => "system-not-text",
        ErrorKind::UnexpectedEof => "system-too-short",
        _ => return Message::new("system-other").with("why", error),
    };
    Message::new(id)
}

impl Texts {
    /// The words of a message.
    #[must_use]
    pub fn say(&self, message: &Message) -> String {
        self.explain(message).what
    }

    /// The words of a message, and its remedy.
    #[must_use]
    pub fn explain(&self, message: &Message) -> Explained {
        let values: Vec<(&str, FluentValue<'_>)> = message
            .values
            .iter()
            .map(|(name, value)| match value {
                Value::Text(text) => (*name, FluentValue::from(text.as_str())),
                Value::Message(message) => (*name, FluentValue::from(self.say(message))),
            })
            .collect();
        self.explained(&message.id, &values)
    }
}
