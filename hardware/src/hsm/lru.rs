//! A bounded map that gives up its least recently used entry.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most `capacity` entries; with capacity 0 it keeps none.
pub(super) struct Lru<K, V> {
    capacity: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V: Copy> Lru<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, entries: HashMap::new(), by_age: BTreeMap::new() }
    }

    /// The value, which becomes the most recently used.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.get_mut(key)?;
        self.clock += 1;
        if let Some(key) = self.by_age.remove(age) {
            self.by_age.insert(self.clock, key);
        }
        *age = self.clock;
        Some(*value)
    }

    /// Stores the value and returns what no longer has a place: the value this one replaces, the oldest one, or,
    /// with capacity 0, this one itself.
    #[must_use = "what was given up may have to be destroyed"]
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.capacity == 0 {
            return Some(value);
        }
        let mut given_up = self.remove(&key);
        if self.entries.len() >= self.capacity {
            given_up = self.pop_oldest();
        }
        self.clock += 1;
        self.by_age.insert(self.clock, key.clone());
        self.entries.insert(key, (self.clock, value));
        given_up
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.by_age.remove(&age);
        Some(value)
    }

    pub(super) fn pop_oldest(&mut self) -> Option<V> {
        let (_, key) = self.by_age.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }

    /// Removes one entry whose key satisfies `wanted`.
    pub(super) fn remove_where(&mut self, wanted: impl Fn(&K) -> bool) -> Option<V> {
        let key = self.entries.keys().find(|key| wanted(key))?.clone();
        self.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn gives_up_the_least_recently_used() {
        let mut lru = Lru::new(2);
        assert_eq!(lru.insert("a", 1), None);
        assert_eq!(lru.insert("b", 2), None);
        assert_eq!(lru.get(&"a"), Some(1));
        assert_eq!(lru.insert("c", 3), Some(2));
        assert_eq!(lru.get(&"b"), None);
        assert_eq!(lru.insert("a", 4), Some(1), "a replaced value comes back too");
        assert_eq!(lru.pop_oldest(), Some(3));
        assert_eq!(lru.remove(&"a"), Some(4));
        assert_eq!(lru.pop_oldest(), None);
    }

    #[test]
    fn capacity_zero_keeps_nothing() {
        let mut lru = Lru::new(0);
        assert_eq!(lru.insert("a", 1), Some(1));
        assert_eq!(lru.get(&"a"), None);
    }
}
