//! Guards that a simulator takes away, one at a time, to see that it notices.

macro_rules! guards {
    ($($guard:ident $name:literal $doc:literal)*) => {
        /// A guard that carries one of the invariants I2 to I5.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Guard {
            $(#[doc = $doc] $guard,)*
        }

        impl Guard {
            /// Every guard.
            pub const ALL: &[Self] = &[$(Self::$guard),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$guard => $name),* }
            }

            /// What it sees to.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$guard => $doc),* }
            }

            /// The guard of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|guard| guard.name() == name)
            }
        }
    };
}

guards! {
    JournalFirst "journal-first" "A partial is computed only once its audit record is durable."
    ActedOnIsAsked "acted-on-is-asked" "What was acted on at first sight is not answered, whatever the ledger says."
    LeaseEnds "lease-ends" "A lease ends."
    SleptInBetween "slept-in-between" "The lease is asked once more before the answer leaves."
    NewestNonce "newest-nonce" "A stamp answers the newest nonce."
    CountedFromSending "counted-from-sending" "The lease counts from when the nonce was sent."
    FoldedFirst "folded-first" "Nothing is answered before all that the stamp contains is folded."
    TimeGoesOn "time-goes-on" "No stamp goes back behind the time of an earlier one."
    LedgerGrows "ledger-grows" "No stamp has a smaller ledger than an earlier one."
    StampsOutliveRestarts "stamps-outlive-restarts" "What the last stamp said outlives a restart."
    NotBackdated "not-backdated" "A follower takes no leaf that is older than a stamp given before it."
    StampsInTurn "stamps-in-turn" "The kms takes a leaf's instant in the same turn in which it appends the leaf."
    NotBeforeStamps "not-before-stamps" "The kms dates no leaf before a stamp that it gave."
    StampsKept "stamps-kept" "A stamp's time is durable at the kms before it leaves."
    Marked "marked" "What an order ends is dead at once, for every question that is asked from then on."
    MarkDurable "mark-durable" "That it is dead is durable before the receipt."
    Destroyed "destroyed" "The key pairs are destroyed before the receipt."
    Drained "drained" "No answer that was checked before is under way when the receipt is signed."
    NoneForTheDead "none-for-the-dead" "No key pair is made, and no share taken, for what was acted on as over."
    FoldAgainstStamps "fold-against-stamps" "Leaves that contradict the last stamp halt."
    LeavesCompared "leaves-compared" "Another leaf in the place of one that is here halts."
    SeenAgainstFold "seen-against-fold" "An order whose signers saw another ledger halts the site that it is brought to."
    HaltKept "halt-kept" "Whoever has halted for a fork stays so over a restart."
    CosignedIsFolded "cosigned-is-folded" "The ca cosigns what it has folded itself."
}

#[cfg(debug_assertions)]
mod removed {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Guard;

    static REMOVED: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Takes a guard away, for this whole process and for good.
    pub fn remove(guard: Guard) {
        REMOVED.store(guard as usize, Ordering::Relaxed);
    }

    pub(super) fn is_removed(guard: Guard) -> bool {
        REMOVED.load(Ordering::Relaxed) == guard as usize
    }
}

#[cfg(debug_assertions)]
pub use removed::remove;

/// Whether a guard stands. It does, unless a simulator has taken it away; in a release build, always.
#[must_use]
#[inline]
pub fn stands(guard: Guard) -> bool {
    #[cfg(debug_assertions)]
    {
        !removed::is_removed(guard)
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = guard;
        true
    }
}
