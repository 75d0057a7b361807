//! Marks: names that a token keeps beside its keys, for what must outlive every copy of a database. A mark is a data object
//! (`CKO_DATA`, PKCS#11 2.40, section 4.5) without a value.

use std::sync::PoisonError;

use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::Session;

use super::Pkcs11Token;
use super::error::HsmError;

const PREFIX: &str = "warifu/mark/";

impl Pkcs11Token {
    pub(super) fn mark(&self, label: &str) -> Result<(), HsmError> {
        let _one_at_a_time = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| {
            let session = &link.worker().session;
            let full_label = Attribute::Label(format!("{PREFIX}{label}").into_bytes());
            let found = session.find_objects(&[
                Attribute::Token(true),
                Attribute::Class(ObjectClass::DATA),
                full_label.clone(),
            ])?;
            if found.is_empty() {
                session.create_object(&[
                    Attribute::Token(true),
                    Attribute::Private(true),
                    Attribute::Class(ObjectClass::DATA),
                    Attribute::Application(b"warifu".to_vec()),
                    full_label,
                ])?;
            }
            Ok(())
        })
    }

    pub(super) fn marks(&self) -> Result<Vec<String>, HsmError> {
        self.with_link(|link| marks_of(&link.worker().session))
    }
}

fn marks_of(session: &Session) -> Result<Vec<String>, HsmError> {
    let mut marks = Vec::new();
    for object in session.find_objects(&[Attribute::Token(true), Attribute::Class(ObjectClass::DATA)])? {
        for attribute in session.get_attributes(object, &[AttributeType::Label])? {
            let Attribute::Label(bytes) = attribute else { continue };
            // Other software's objects may share the token, under labels that are no UTF-8.
            let Ok(full) = String::from_utf8(bytes) else { continue };
            marks.extend(full.strip_prefix(PREFIX).map(str::to_owned));
        }
    }
    Ok(marks)
}
