//! Where on a token the keys of the roles lie.

use cryptoki::object::Attribute;

use super::super::{AgreementKey, KeyRole, ShareSlot};

/// A key of ours on a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Role(KeyRole),
    Share(ShareSlot),
}

impl Place {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        KeyRole::ALL.into_iter().map(Self::Role).chain(ShareSlot::all().map(Self::Share))
    }

    /// The id that middleware for PIV gives to the slot's objects: 9A to 9D are 1 to 3, and 82 is 5.
    fn piv_id(self) -> u8 {
        match self {
            Self::Role(KeyRole::Authentication) => 1,
            Self::Role(KeyRole::Signature) => 2,
            Self::Role(KeyRole::Transport) => 3,
            Self::Share(slot) => 5 + slot.index(),
        }
    }

    fn label(self) -> String {
        match self {
            Self::Role(KeyRole::Authentication) => "warifu 9a".to_owned(),
            Self::Role(KeyRole::Signature) => "warifu 9c".to_owned(),
            Self::Role(KeyRole::Transport) => "warifu 9d".to_owned(),
            Self::Share(slot) => format!("warifu share {:02}", slot.index()),
        }
    }
}

impl From<AgreementKey> for Place {
    fn from(key: AgreementKey) -> Self {
        match key {
            AgreementKey::Transport => Self::Role(KeyRole::Transport),
            AgreementKey::Share(slot) => Self::Share(slot),
        }
    }
}

/// How a token names its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A PIV card behind middleware that numbers its slots (OpenSC, ykcs11). Such a card is used and not written.
    Piv,
    /// A token of its own, whose objects have our labels.
    Labels,
}

/// The makers, as `C_GetInfo` names them, of middleware that shows PIV cards.
const PIV_MIDDLEWARE: [&str; 2] = ["OpenSC", "Yubico"];

impl Layout {
    /// The layout that the maker of the module uses.
    pub(super) fn of(manufacturer: &str) -> Self {
        if PIV_MIDDLEWARE.iter().any(|maker| manufacturer.starts_with(maker)) {
            Self::Piv
        } else {
            Self::Labels
        }
    }

    /// Whether cards can be issued.
    pub(super) fn issues(self) -> bool {
        self == Self::Labels
    }

    /// What finds the objects of a place.
    pub(super) fn template(self, place: Place) -> Vec<Attribute> {
        match self {
            Self::Piv => vec![Attribute::Token(true), Attribute::Id(vec![place.piv_id()])],
            Self::Labels => vec![Attribute::Token(true), Attribute::Label(place.label().into_bytes())],
        }
    }

    /// What a new object of a place is called. The ids are PIV's, so that other software can tell the keys apart.
    pub(super) fn names(place: Place) -> [Attribute; 2] {
        [Attribute::Label(place.label().into_bytes()), Attribute::Id(vec![place.piv_id()])]
    }

    /// The place of an object with this id and label.
    pub(super) fn place(self, id: &[u8], label: &[u8]) -> Option<Place> {
        Place::all().find(|place| match self {
            Self::Piv => id == [place.piv_id()],
            Self::Labels => label == place.label().as_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_by_its_own_names_alone() {
        for place in Place::all() {
            let (id, label) = ([place.piv_id()], place.label());
            assert_eq!(Layout::Piv.place(&id, b""), Some(place));
            assert_eq!(Layout::Labels.place(b"", label.as_bytes()), Some(place));
        }
        assert_eq!(Layout::Piv.place(&[4], b"warifu 9a"), None, "9E is none of ours");
        assert_eq!(Layout::Piv.place(&[25], b""), None, "the attestation key is none of ours");
        assert_eq!(Layout::Labels.place(&[1], b"warifu 9"), None);
    }
}
