//! Keys by label, as the ledger's fixture makes them, each made once in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use p256::ecdsa::SigningKey;
use warifu_split_key::point::Point;

use crate::fixture;

struct Key {
    secret: SigningKey,
    public: Point,
}

static MADE: Mutex<BTreeMap<String, Arc<Key>>> = Mutex::new(BTreeMap::new());

fn made(label: &str) -> Arc<Key> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = made.get(label) {
        return key.clone();
    }
    let secret = fixture::key(label);
    let public = fixture::public(&secret).0;
    let key = Arc::new(Key { secret, public });
    made.insert(label.to_owned(), key.clone());
    key
}

pub(crate) fn secret(label: &str) -> SigningKey {
    made(label).secret.clone()
}

pub(crate) fn public(label: &str) -> Point {
    made(label).public
}
