//! How values are written and read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};
use warifu_split_key::point::Point;

use crate::key::{Base64, PublicKey};
use crate::state::growing::{GrowingMap, GrowingSet};
use crate::{Digest, Id};

/// A value that is written to bytes, and read from the beginning of bytes, which are taken.
pub(super) trait Form: Sized {
    fn write(&self, out: &mut Vec<u8>);

    /// None where these are not the bytes of one. What is allocated is bounded by what is there to be read.
    fn read(input: &mut &[u8]) -> Option<Self>;
}

/// The fields of a type, none of which can be forgotten: their order is that of the bytes.
macro_rules! record {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl Form for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.write(out);)*
            }

            fn read(input: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Form::read(input)?),* })
            }
        }
    };
}

/// An enumeration as one byte.
macro_rules! choice {
    ($type:ident { $($variant:ident = $byte:literal),* }) => {
        impl Form for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $byte),* });
            }

            fn read(input: &mut &[u8]) -> Option<Self> {
                match u8::read(input)? { $($byte => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

pub(super) use {choice, record};

impl Form for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Form for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let (&first, rest) = input.split_first()?;
        *input = rest;
        Some(first)
    }
}

impl Form for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        match u8::read(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Form for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self::from_be_bytes)
    }
}

impl Form for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self::from_be_bytes)
    }
}

impl<const N: usize> Form for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let (first, rest) = input.split_first_chunk()?;
        *input = rest;
        Some(*first)
    }
}

impl Form for String {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let length = u64::read(input)?.try_into().ok()?;
        let (text, rest) = input.split_at_checked(length)?;
        *input = rest;
        Self::from_utf8(text.to_vec()).ok()
    }
}

impl Form for Id {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self)
    }
}

impl Form for Digest {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self)
    }
}

impl<const N: usize> Form for Base64<N> {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self)
    }
}

impl Form for Point {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_uncompressed().write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Self::from_sec1(&<[u8; 65]>::read(input)?).ok()
    }
}

impl Form for PublicKey {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self)
    }
}

impl<T: Form> Form for Arc<T> {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        T::read(input).map(Self::new)
    }
}

impl<T: Form> Form for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        if bool::read(input)? { T::read(input).map(Some) } else { Some(None) }
    }
}

impl<A: Form, B: Form> Form for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Some((A::read(input)?, B::read(input)?))
    }
}

impl<T: Form> Form for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut all = Self::new();
        for _ in 0..u64::read(input)? {
            all.push(Form::read(input)?);
        }
        Some(all)
    }
}

impl<T: Form + Ord> Form for BTreeSet<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut all = Self::new();
        for _ in 0..u64::read(input)? {
            all.insert(Form::read(input)?);
        }
        Some(all)
    }
}

impl<K: Form + Ord, V: Form> Form for BTreeMap<K, V> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|(key, value)| {
            key.write(out);
            value.write(out);
        });
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut all = Self::new();
        for _ in 0..u64::read(input)? {
            let (key, value) = Form::read(input)?;
            all.insert(key, value);
        }
        Some(all)
    }
}

impl<T: Form + Ord> Form for Set<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.size() as u64).write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut all = Self::new_sync();
        for _ in 0..u64::read(input)? {
            all.insert_mut(Form::read(input)?);
        }
        Some(all)
    }
}

impl<K: Form + Ord, V: Form> Form for Map<K, V> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.size() as u64).write(out);
        self.iter().for_each(|(key, value)| {
            key.write(out);
            value.write(out);
        });
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut all = Self::new_sync();
        for _ in 0..u64::read(input)? {
            let (key, value) = Form::read(input)?;
            all.insert_mut(key, value);
        }
        Some(all)
    }
}

impl<K: Form + Ord + Clone, V: Form + Clone> Form for GrowingMap<K, V> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.size() as u64).write(out);
        self.iter().for_each(|(key, value)| {
            key.write(out);
            value.write(out);
        });
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let count = u64::read(input)?;
        // About as many bytes here as there; one that lies about its number gets no more than it brings.
        let room = input.len() / size_of::<(K, V)>().max(1);
        let mut all: Vec<(K, V)> = Vec::with_capacity(room.min(usize::try_from(count).ok()?));
        for _ in 0..count {
            let (key, value) = Form::read(input)?;
            if all.last().is_some_and(|(before, _)| *before >= key) {
                return None;
            }
            all.push((key, value));
        }
        Some(Self::of_sorted(all))
    }
}

impl<K: Form + Ord + Clone> Form for GrowingSet<K> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_map().write(out);
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        Form::read(input).map(Self::of_map)
    }
}
