//! Maps and sets from which nothing is ever taken out, as values: cloning is cheap, and a clone keeps what it has.
//!
//! A ledger of a million entries makes a dozen of them, with a million entries each. Those that a snapshot had stand one after the
//! other in a sorted run, which needs no making and which all clones share; whatever was put in or changed since lies over it in a
//! tree. Without a snapshot, the run is empty.

use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};
use std::slice;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

/// A map that grows.
#[derive(Clone)]
pub(super) struct GrowingMap<K: Ord, V> {
    /// Ascending, each key once.
    run: Arc<Vec<(K, V)>>,
    /// Counts where the run has the same key, too.
    over: RedBlackTreeMapSync<K, V>,
    size: usize,
}

/// A set that grows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct GrowingSet<K: Ord + Clone>(GrowingMap<K, ()>);

impl<K: Ord + Clone, V: Clone> GrowingMap<K, V> {
    pub(super) fn new() -> Self {
        Self::of_sorted(Vec::new())
    }

    /// The keys have to ascend.
    pub(super) fn of_sorted(run: Vec<(K, V)>) -> Self {
        Self { size: run.len(), run: Arc::new(run), over: RedBlackTreeMapSync::new_sync() }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn in_run(&self, key: &K) -> Option<&(K, V)> {
        let place = self.run.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.run.get(place)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.over.get(key).or_else(|| self.in_run(key).map(|(_, value)| value))
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.over.contains_key(key) {
            let (key, value) = self.in_run(key)?.clone();
            self.over.insert_mut(key, value);
        }
        self.over.get_mut(key)
    }

    pub(super) fn insert_mut(&mut self, key: K, value: V) {
        self.size += usize::from(!self.contains_key(&key));
        self.over.insert_mut(key, value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        Merged { run: self.run.iter(), over: self.over.iter().peekable() }
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let below = |key: &K| match range.start_bound() {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        let up_to = |key: &K| match range.end_bound() {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        let (start, end) = (
            self.run.partition_point(|(key, _)| below(key)),
            self.run.partition_point(|(key, _)| up_to(key)),
        );
        let run = self.run.get(start..end).unwrap_or_default().iter();
        Merged { run, over: self.over.range(range).peekable() }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for GrowingMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for GrowingMap<K, V> {}

impl<K: Ord + Clone> GrowingSet<K> {
    pub(super) fn new() -> Self {
        Self(GrowingMap::new())
    }

    pub(super) fn of_map(map: GrowingMap<K, ()>) -> Self {
        Self(map)
    }

    pub(super) fn as_map(&self) -> &GrowingMap<K, ()> {
        &self.0
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn insert_mut(&mut self, key: K) {
        self.0.insert_mut(key, ());
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = &K> {
        self.0.range(range).map(|(key, ())| key)
    }
}

/// Both in one order; what lies over counts.
struct Merged<'a, K, V, O: Iterator<Item = (&'a K, &'a V)>> {
    run: slice::Iter<'a, (K, V)>,
    over: Peekable<O>,
}

impl<'a, K: Ord, V, O: Iterator<Item = (&'a K, &'a V)>> Iterator for Merged<'a, K, V, O> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let Some((first, value)) = self.run.as_slice().first() else { return self.over.next() };
        match self.over.peek() {
            Some(&(over, _)) if over <= first => {
                if over == first {
                    self.run.next();
                }
                self.over.next()
            }
            _ => {
                self.run.next();
                Some((first, value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every even number to 20 in the run; then numbers are put in and changed.
    fn both() -> (GrowingMap<u8, u8>, BTreeMap<u8, u8>) {
        let evens: Vec<(u8, u8)> = (0..20).step_by(2).map(|key| (key, key)).collect();
        let (mut map, mut plain) = (GrowingMap::of_sorted(evens.clone()), BTreeMap::from_iter(evens));
        for (key, value) in [(0, 100), (3, 3), (18, 101), (19, 19), (3, 102), (40, 40)] {
            map.insert_mut(key, value);
            plain.insert(key, value);
        }
        *map.get_mut(&4).unwrap() = 103;
        plain.insert(4, 103);
        *map.get_mut(&40).unwrap() = 104;
        plain.insert(40, 104);
        (map, plain)
    }

    #[test]
    fn what_lies_over_the_run_counts() {
        let (mut map, plain) = both();
        assert_eq!(map.size(), plain.len());
        assert!(map.iter().eq(plain.iter()));
        for key in 0..50 {
            assert_eq!(map.get(&key), plain.get(&key));
            assert_eq!(map.get_mut(&key).copied(), plain.get(&key).copied());
        }
        assert_eq!(map.size(), plain.len());
    }

    #[test]
    fn a_range_is_that_of_both() {
        let (map, plain) = both();
        for start in 0..=41 {
            for end in start..=41 {
                assert!(map.range(start..=end).eq(plain.range(start..=end)), "{start}..={end}");
                assert!(map.range(start..end).eq(plain.range(start..end)), "{start}..{end}");
            }
            assert!(map.range(start..).eq(plain.range(start..)));
        }
    }

    #[test]
    fn maps_of_the_same_are_the_same_however_they_lie() {
        let (map, plain) = both();
        assert!(map == GrowingMap::of_sorted(plain.clone().into_iter().collect()));
        let mut other = map.clone();
        other.insert_mut(18, 0);
        assert!(map != other);
        // Of a clone, nothing is seen in what it was cloned from.
        assert_eq!(map.get(&18), Some(&101));
        other.insert_mut(18, 101);
        assert!(map == other);
        other.insert_mut(21, 0);
        assert!(map != other);
    }
}
