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
    match (find(own, name), name.split_once(BETWEEN)) {
        (Err(_), Some((organization, unit))) => of_other(others, organization.trim(), unit.trim()),
        (found, _) => {
            let found = found?;
            let key = key_of(found.recipient.as_deref(), &found.label)?;
            Ok(Addressed { organization: None, unit: found.unit, name: found.name.clone(), key })
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

/// What people name by a label, a name or an id.
trait Named {
    fn label(&self) -> &str;
    fn name(&self) -> &str;
    fn id(&self) -> String;
}

impl Named for UnitEntry {
    fn label(&self) -> &str {
        &self.label
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn id(&self) -> String {
        self.unit.to_string()
    }
}

impl Named for OtherUnit {
    fn label(&self) -> &str {
        &self.label
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn id(&self) -> String {
        self.unit.to_string()
    }
}

impl Named for OtherOrganization {
    fn label(&self) -> &str {
        &self.label
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn id(&self) -> String {
        self.organization.to_string()
    }
}

/// The one that is called so; where several fit, none is meant for certain. A label counts before names.
fn only<'a, T: Named>(all: &'a [T], wanted: &str) -> Option<&'a T> {
    fn single<'a, T>(mut found: impl Iterator<Item = &'a T>) -> Option<&'a T> {
        found.next().filter(|_| found.next().is_none())
    }
    if all.iter().any(|item| item.label() == wanted) {
        return single(all.iter().filter(|item| item.label() == wanted));
    }
    single(all.iter().filter(|item| item.name() == wanted || item.id() == wanted))
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
