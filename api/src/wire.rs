//! Requests and answers. Every path is listed with its method, who may call it, and its types.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes, PublicKey};
use warifu_ledger::register::Record;
use warifu_ledger::statement::{Millis, PublicHalf, Right, UnitKind};
use warifu_ledger::{Digest, Id};
use zeroize::Zeroizing;

pub mod agent;
pub mod audit;
pub mod authority;
pub mod deliveries;
pub mod public;
pub mod routing;
pub mod site;
pub mod trusts;

/// 32 secret bytes on their way through TLS, in padded standard base64. No `Debug`, no `Clone`; zeroized when dropped.
pub struct SecretBytes(pub Zeroizing<[u8; 32]>);

impl Serialize for SecretBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(*self.0));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        use serde::de::Error as _;
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let mut bytes = Zeroizing::new([0; 32]);
        let len = base64::engine::general_purpose::STANDARD
            .decode_slice(text.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| D::Error::custom("not 32 bytes in standard base64"))?;
        if len == 32 { Ok(Self(bytes)) } else { Err(D::Error::custom("not 32 bytes in standard base64")) }
    }
}

/// An answer that says nothing but that it is done, and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {}

/// The most leaves in one [`Leaves`].
pub const LEAVES_LIMIT: usize = 500;

/// Reads a list of at most `LIMIT` items. Written down, an item can be much smaller than in memory: a list is refused where it
/// becomes too long, not when it has been read.
fn at_most<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>, const LIMIT: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct AtMost<T, const LIMIT: usize>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const LIMIT: usize> serde::de::Visitor<'de> for AtMost<T, LIMIT> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {LIMIT} items")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(item) = items.next_element()? {
                if read.len() == LIMIT {
                    return Err(serde::de::Error::invalid_length(LIMIT + 1, &self));
                }
                read.push(item);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, LIMIT>(std::marker::PhantomData))
}

/// Reads a map, each key once (P-1.1): of two, serde would keep the last.
fn each_once<'de, D: serde::Deserializer<'de>, K: Deserialize<'de> + Ord, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error> {
    struct EachOnce<K, V>(std::marker::PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> serde::de::Visitor<'de> for EachOnce<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map with each key once")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry()? {
                if read.insert(key, value).is_some() {
                    return Err(serde::de::Error::custom("a key comes twice"));
                }
            }
            Ok(read)
        }
    }

    deserializer.deserialize_map(EachOnce(std::marker::PhantomData))
}

/// A piece of the ledger: consecutive leaves, each in its exact bytes, and the newest checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaves {
    /// Index of the first leaf.
    pub from: u64,
    /// The leaves, at most [`LEAVES_LIMIT`].
    #[serde(deserialize_with = "at_most::<_, _, LEAVES_LIMIT>")]
    pub leaves: Vec<Bytes>,
    /// A kms-signed checkpoint note over a ledger of at least `from + leaves.len()` leaves.
    pub checkpoint: String,
}

/// One leaf on the event stream: event name `leaf`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafEvent {
    /// Index in the ledger.
    pub index: u64,
    /// Its exact bytes.
    pub leaf: Bytes,
}

/// A unit, as the directory and the sites tell of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitEntry {
    /// The unit.
    pub unit: Id,
    /// Short name for command lines: lowercase letters, digits and `-`.
    pub label: String,
    /// Its name as people say it.
    pub name: String,
    /// What it is.
    pub kind: UnitKind,
    /// The `age1tag1…` recipient, once it has a key.
    pub recipient: Option<String>,
    /// The doubly signed `unit.created`, for everybody to check.
    pub created: Option<Envelope>,
    /// The key of the register's record that label and name come from, to check them against the order that `created`
    /// names: else whoever keeps the register could give one unit's name to another's key. None if the record was erased;
    /// then label and name are its id.
    pub name_key: Option<Base64<32>>,
}

#[cfg(test)]
mod tests {
    use super::authority::Register;

    #[test]
    fn a_map_has_each_key_once() {
        let read =
            |entries: &str| serde_json::from_str::<Register>(&format!("{{\"records\":{{{entries}}}}}"));
        let (one, other) =
            (format!("\"{}\":\"税務課\"", "01".repeat(16)), format!("\"{}\":\"福祉課\"", "02".repeat(16)));
        assert_eq!(read(&format!("{one},{other}")).unwrap().records.len(), 2);
        assert!(read(&format!("{one},{one}")).is_err());
        assert!(read(&one.replace("01", "0A")).is_err());
    }
}
