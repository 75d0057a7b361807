//! The units that people name: `税務課` or `tax` of one's own organization, `北アルプス広域連合/介護保険課` of another one.

use warifu_api::wire::UnitEntry;
use warifu_api::wire::agent::{OtherOrganization, OtherUnit, Others};
use warifu_api::wire::trusts::TroubleKind;
use warifu_envelope::UnitRecipient;
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;

use crate::client::{AgentClient, AgentError};

/// What stands between an organization and its unit: a keyboard for Japanese gives the second.
const BETWEEN: [char; 2] = ['/', '／'];

/// A unit that was named, with its proved key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The other organization; none for a unit of one's own.
    pub organization: Option<Digest>,
    /// The unit.
    pub unit: Id,
    /// What people call it, with its organization if that is another.
    pub name: String,
    /// Its key.
    pub key: Point,
}

/// Why something that was named is no unit that files can be sent to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAddressed {
    /// The agent does not say.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// No unit, or more than one, is called so.
    #[error("no single unit is called {unit}")]
    UnitUnknown {
        /// What was named.
        unit: String,
    },
    /// No organization that is trusted, or more than one, is called so.
    #[error("no single trusted organization is called {organization}")]
    OrganizationUnknown {
        /// What was named.
        organization: String,
    },
    /// The organization has no directory that could be believed now.
    #[error("no directory of {organization}: {kind:?}")]
    NoDirectory {
        /// What the organization is called.
        organization: String,
        /// Why, if that is known.
        kind: Option<TroubleKind>,
    },
    /// The unit has no key yet.
    #[error("unit {unit} has no key yet")]
    UnitWithoutKey {
        /// Its label.
        unit: String,
    },
}

/// Finds the units of these names, in their order: one's own by label, name or id; those of others as `organization/unit`, each by
/// label, name or id.
///
/// # Errors
/// [`NotAddressed`], for the first that cannot be found.
pub async fn resolve(agent: &AgentClient, names: &[String]) -> Result<Vec<Addressed>, NotAddressed> {
    let own = agent.directory().await?.units;
    let elsewhere = |name: &&String| name.contains(BETWEEN) && find(&own, name).is_err();
    let others = match names.iter().any(|name| elsewhere(&name)) {
        true => agent.others().await?,
        false => Others { organizations: Vec::new() },
    };
    names.iter().map(|name| one(&own, &others, name)).collect()
}

fn one(own: &[UnitEntry], others: &Others, name: &str) -> Result<Addressed, NotAddressed> {
    let unknown = match find(own, name) {
        Ok(found) => {
            let key = key_of(found.recipient.as_deref(), &found.label)?;
            return Ok(Addressed { organization: None, unit: found.unit, name: found.name.clone(), key });
        }
        Err(unknown) => unknown,
    };
    // Names may have slashes of their own: where the parts of several fit, none is meant for certain.
    let split = |(at, between): (usize, &str)| {
        let (organization, unit) = (name.get(..at)?, name.get(at + between.len()..)?);
        Some(of_other(others, organization.trim(), unit.trim()))
    };
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for at in name.match_indices(BETWEEN).filter_map(split) {
        match at {
            Ok(addressed) => found.push(addressed),
            Err(why) => missed.push(why),
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(addressed), true) => Ok(addressed),
        (Some(_), false) => Err(unknown),
        // That an organization is there says more than that another one is not.
        (None, _) => {
            let is_there = |why: &NotAddressed| !matches!(why, NotAddressed::OrganizationUnknown { .. });
            let telling = missed.iter().position(is_there).unwrap_or_default();
            Err(if missed.is_empty() { unknown } else { missed.swap_remove(telling) })
        }
    }
}

fn of_other(others: &Others, organization: &str, unit: &str) -> Result<Addressed, NotAddressed> {
    let found = only(&others.organizations, organization)
        .ok_or_else(|| NotAddressed::OrganizationUnknown { organization: organization.to_owned() })?;
    if found.expires_at.is_none() {
        let kind = found.alarm.map(|alarm| alarm.kind).or(found.trouble);
        return Err(NotAddressed::NoDirectory { organization: found.name.clone(), kind });
    }
    let unit = only(&found.units, unit)
        .ok_or_else(|| NotAddressed::UnitUnknown { unit: format!("{organization}/{unit}") })?;
    Ok(Addressed {
        organization: Some(found.organization),
        unit: unit.unit,
        name: format!("{} / {}", found.name, unit.name),
        key: key_of(Some(&unit.recipient), &unit.label)?,
    })
}

fn key_of(recipient: Option<&str>, label: &str) -> Result<Point, NotAddressed> {
    let key = recipient.and_then(|recipient| UnitRecipient::parse(recipient).ok());
    key.ok_or_else(|| NotAddressed::UnitWithoutKey { unit: label.to_owned() })
}

/// A unit of one's own organization by its label, name or id.
///
/// # Errors
/// [`NotAddressed::UnitUnknown`] where none fits, or several.
pub fn find<'a>(units: &'a [UnitEntry], wanted: &str) -> Result<&'a UnitEntry, NotAddressed> {
    only(units, wanted).ok_or_else(|| NotAddressed::UnitUnknown { unit: wanted.to_owned() })
}

/// What people name something by.
struct Called<'a> {
    label: &'a str,
    name: &'a str,
    id: String,
}

impl<'a> From<&'a UnitEntry> for Called<'a> {
    fn from(unit: &'a UnitEntry) -> Self {
        Self { label: &unit.label, name: &unit.name, id: unit.unit.to_string() }
    }
}

impl<'a> From<&'a OtherUnit> for Called<'a> {
    fn from(unit: &'a OtherUnit) -> Self {
        Self { label: &unit.label, name: &unit.name, id: unit.unit.to_string() }
    }
}

impl<'a> From<&'a OtherOrganization> for Called<'a> {
    fn from(other: &'a OtherOrganization) -> Self {
        Self { label: &other.label, name: &other.name, id: other.organization.to_string() }
    }
}

/// The one that is called so; where several fit, none is meant for certain. A label counts before names.
fn only<'a, T>(all: &'a [T], wanted: &str) -> Option<&'a T>
where
    Called<'a>: From<&'a T>,
{
    let called: Vec<(&T, Called<'a>)> = all.iter().map(|item| (item, item.into())).collect();
    let labelled = called.iter().any(|(_, called)| called.label == wanted);
    let mut found = called.iter().filter(|(_, called)| match labelled {
        true => called.label == wanted,
        false => called.name == wanted || called.id == wanted,
    });
    let (item, _) = found.next()?;
    found.next().is_none().then_some(*item)
}

#[cfg(test)]
mod tests {
    use warifu_api::wire::trusts::Trouble;
    use warifu_ledger::statement::UnitKind;

    use super::*;

    fn key() -> Point {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        Point::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
    }

    fn own(label: &str, name: &str) -> UnitEntry {
        UnitEntry {
            unit: Id([1; 16]),
            label: label.to_owned(),
            name: name.to_owned(),
            kind: UnitKind::Department,
            recipient: Some(UnitRecipient::encode(&key())),
            created: None,
            name_key: None,
        }
    }

    fn alps(expires_at: Option<u64>) -> Others {
        let unit = OtherUnit {
            unit: Id([2; 16]),
            label: "kaigo".to_owned(),
            name: "介護保険課".to_owned(),
            kind: UnitKind::Department,
            recipient: UnitRecipient::encode(&key()),
        };
        Others {
            organizations: vec![OtherOrganization {
                organization: Digest::of(b"alps"),
                label: "alps".to_owned(),
                name: "北アルプス広域連合".to_owned(),
                units: vec![unit],
                expires_at,
                alarm: Some(Trouble { kind: TroubleKind::RootChanged, at: 1 }),
                trouble: Some(TroubleKind::Unreachable),
            }],
        }
    }

    #[test]
    fn p_16_9_units_are_named_as_people_name_them() {
        let units = [own("tax", "税務課"), own("odd", "北アルプス広域連合/介護保険課 係")];
        let others = alps(Some(9));
        for name in ["tax", "税務課"] {
            assert_eq!(one(&units, &others, name).unwrap().organization, None);
        }
        for name in [
            "alps/kaigo",
            "北アルプス広域連合/介護保険課",
            "北アルプス広域連合／介護保険課",
            "alps / 介護保険課",
        ] {
            let found = one(&units, &others, name).unwrap();
            assert_eq!((found.organization, found.unit), (Some(Digest::of(b"alps")), Id([2; 16])), "{name}");
            assert_eq!(found.name, "北アルプス広域連合 / 介護保険課");
        }
        let odd = one(&units, &others, "北アルプス広域連合/介護保険課 係").unwrap();
        assert_eq!(odd.organization, None, "one's own whole name counts first");
    }

    /// An organization makes no unit of its own pass for another organization's.
    #[test]
    fn p_16_9_where_names_have_slashes_of_their_own_several_that_fit_are_none() {
        let mut others = alps(Some(9));
        let mut second = others.organizations[0].clone();
        second.organization = Digest::of(b"second");
        second.label = "second".to_owned();
        second.name = "北アルプス広域連合/大町".to_owned();
        second.units[0].label = "tax".to_owned();
        second.units[0].name = "税務課".to_owned();
        others.organizations.push(second);
        let name = "北アルプス広域連合/大町/税務課";
        let found = one(&[], &others, name).unwrap();
        assert_eq!(found.organization, Some(Digest::of(b"second")), "the slash that is between them");
        others.organizations[0].units[0].name = "大町/税務課".to_owned();
        let refused = one(&[], &others, name).unwrap_err();
        assert!(matches!(refused, NotAddressed::UnitUnknown { .. }), "{refused:?}");
        assert_eq!(one(&[], &others, "alps/大町/税務課").unwrap().organization, Some(Digest::of(b"alps")));
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let units = [own("tax", "税務課"), own("a", "同じ"), own("b", "同じ")];
        let refused = |name: &str, others: &Others| one(&units, others, name).unwrap_err();
        assert!(matches!(refused("同じ", &alps(Some(9))), NotAddressed::UnitUnknown { .. }));
        assert!(matches!(refused("nowhere/tax", &alps(Some(9))), NotAddressed::OrganizationUnknown { .. }));
        assert!(matches!(refused("alps/tax", &alps(Some(9))), NotAddressed::UnitUnknown { .. }));
        let NotAddressed::NoDirectory { kind, .. } = refused("alps/kaigo", &alps(None)) else { panic!() };
        assert_eq!(kind, Some(TroubleKind::RootChanged), "the alarm counts before what is merely late");
    }
}
