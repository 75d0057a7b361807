//! What a sequence does, all of it chosen by its seed.

use std::fmt;

use warifu_crash_point::CrashPoint as P;

use crate::services::Who;

/// What people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// A new member with a card and a grant.
    Enrol,
    /// A new contract with its unit, a member under it, and his grant.
    OpenContract,
    Open,
    RevokeGrant,
    RevokeCard,
    RevokeMember,
    EndContract,
    /// Suspended, and back again.
    Suspend,
    /// Two orders wait for a second person: one is withdrawn, the other signed.
    Propose,
    /// A service is stopped and started, and nothing else happens.
    Restart,
}

impl Operation {
    /// Whether its subject opens nothing any more.
    pub(crate) fn ends_a_grant(self) -> bool {
        matches!(self, Self::RevokeGrant | Self::RevokeCard | Self::RevokeMember | Self::EndContract)
    }
}

/// How a revocation comes to the sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// By the ledger alone.
    Ledger,
    /// By hand as well, before.
    HandFirst,
    /// By hand as well, at the same time.
    Together,
    /// By hand to one site alone, which brings it to the kms.
    Site(Who),
}

/// Where somebody ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) who: Who,
    pub(crate) point: P,
    pub(crate) nth: u64,
    /// A power failure: everybody ends with him.
    pub(crate) everybody: bool,
}

impl fmt::Debug for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} #{}", self.who.name(), self.point.name(), self.nth)?;
        if self.everybody { f.write_str(" and everybody with it") } else { Ok(()) }
    }
}

/// One sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    pub(crate) seed: u64,
    pub(crate) operation: Operation,
    pub(crate) delivery: Delivery,
    pub(crate) first: Strike,
    /// Strikes while the first is being recovered from.
    pub(crate) second: Option<Strike>,
    /// Turns the order in which services come back.
    pub(crate) turn: usize,
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or_default()
    }
}

/// The points that an operation passes, and how often at most each is let pass before the end.
fn passed(operation: Operation) -> Vec<(Who, P, u64)> {
    use Operation as O;
    let mut all: Vec<(Who, P, u64)> = Vec::new();
    let mut add = |who: &[Who], points: &[(P, u64)]| {
        for who in who {
            all.extend(points.iter().map(|(point, times)| (*who, *point, *times)));
        }
    };
    let (kms, ca, sites) = (&[Who::Kms][..], &[Who::Ca][..], &Who::SITES[..]);
    let order = [(P::KmsOrderChecked, 1), (P::KmsOrderAppended, 1), (P::KmsOrderDone, 1)];
    let cosigned = [(P::CaCosignedRemembered, 1), (P::CaCosignedPosted, 1)];
    let leaf = [(P::SiteLeafRead, 1), (P::SiteLeafActedOn, 1), (P::SitePositionKept, 1)];
    if !matches!(operation, O::Open | O::Restart) {
        add(kms, &order);
        add(kms, &[(P::KmsCosignatureKept, 1), (P::ReplicaLeavesStored, 1)]);
        add(ca, &cosigned);
        add(ca, &[(P::ReplicaLeavesStored, 1)]);
        add(sites, &leaf);
        add(sites, &[(P::ReplicaLeavesStored, 1)]);
    }
    match operation {
        O::Enrol | O::OpenContract => {
            add(
                kms,
                &[
                    (P::KmsFactChecked, 1),
                    (P::KmsFactAppended, 1),
                    (P::KmsGrantKeyKept, 2),
                    (P::KmsShareKept, 1),
                    (P::KmsShareSigned, 1),
                    (P::KmsAckKept, 2),
                    (P::KmsImportKept, 1),
                    (P::KmsCertificateKept, 3),
                    (P::ReplicaLeavesStored, 2),
                ],
            );
            add(
                ca,
                &[
                    (P::CaShareKept, 1),
                    (P::CaShareMade, 1),
                    (P::CaSharePosted, 1),
                    (P::CaGrantSigned, 1),
                    (P::CaGrantPosted, 1),
                    (P::CaShareForgotten, 1),
                    (P::CaCertificateKept, 3),
                    (P::CaCertificatePosted, 3),
                    (P::CaCertificateSent, 3),
                    (P::ReplicaLeavesStored, 2),
                ],
            );
            add(
                sites,
                &[
                    (P::SiteKeyPairMade, 1),
                    (P::SiteKeyPairPosted, 1),
                    (P::SiteKeyPairAnnounced, 1),
                    (P::SiteShareChecked, 1),
                    (P::SiteShareStored, 1),
                    (P::SiteShareAcknowledged, 1),
                    (P::SiteShareSettled, 1),
                    (P::SiteLeafRead, 2),
                    (P::SiteLeafActedOn, 2),
                    (P::SitePositionKept, 2),
                ],
            );
            if operation == O::OpenContract {
                add(kms, &[(P::KmsHalfKept, 1), (P::KmsHalfSigned, 1), (P::KmsFactChecked, 2)]);
                add(
                    ca,
                    &[(P::CaHalfKept, 1), (P::CaHalfPosted, 1), (P::CaUnitSigned, 1), (P::CaUnitPosted, 1)],
                );
            }
        }
        O::Propose => add(kms, &[(P::KmsProposalKept, 2), (P::KmsProposalWithdrawn, 1)]),
        O::Open => add(sites, &[(P::SiteJournalRecorded, 1), (P::SitePartialComputed, 1)]),
        O::RevokeGrant | O::RevokeCard | O::RevokeMember | O::EndContract | O::Suspend => {
            let times = if operation == O::Suspend { 2 } else { 1 };
            add(kms, &[(P::KmsReceiptKept, 2), (P::KmsCrlKept, times)]);
            add(ca, &[(P::CaRevocationKept, times), (P::CaCrlKept, times), (P::CaCrlPosted, times)]);
            add(
                sites,
                &[
                    (P::SiteOrderMarked, times),
                    (P::SiteRowsForgotten, times),
                    (P::SiteConnectionsCut, times),
                    (P::SiteReceiptSigned, times),
                    (P::SiteReceiptStored, times),
                    (P::SiteReceiptDelivered, times),
                    (P::SiteReceiptSettled, times),
                ],
            );
            add(sites, &[(P::SiteOrderCouriered, 1), (P::SiteOrderSettled, 1)]);
            if operation != O::Suspend {
                add(sites, &[(P::SiteKeyPairDestroyed, 1)]);
            }
        }
        O::Restart => {
            add(kms, &[(P::KmsStampKept, 3)]);
            add(ca, &[(P::ReplicaStampStored, 1)]);
            add(sites, &[(P::ReplicaStampStored, 1)]);
        }
    }
    all
}

const OPERATIONS: [Operation; 10] = [
    Operation::Enrol,
    Operation::OpenContract,
    Operation::Open,
    Operation::RevokeGrant,
    Operation::RevokeCard,
    Operation::RevokeMember,
    Operation::EndContract,
    Operation::Suspend,
    Operation::Propose,
    Operation::Restart,
];

/// Every operation with every end it can come to, once.
pub(crate) fn every_end() -> Vec<(Operation, Who, P, u64)> {
    let mut all = Vec::new();
    for operation in OPERATIONS {
        for (who, point, times) in passed(operation) {
            all.extend((1..=times).map(|nth| (operation, who, point, nth)));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

impl Words {
    /// As many seeds in a row as there are ends come to every one of them.
    pub(crate) fn of(seed: u64) -> Self {
        let every = every_end();
        let mut draw = Draw::new(seed);
        // A stride that has no divisor in common with the length visits every place.
        let place = (seed % every.len() as u64).wrapping_mul(stride(every.len() as u64)) % every.len() as u64;
        let place = usize::try_from(place).unwrap_or_default();
        let (operation, who, point, nth) =
            every.get(place).copied().unwrap_or((Operation::Open, Who::Main, P::SiteJournalRecorded, 1));
        let first = Strike { who, point, nth, everybody: draw.below(6) == 0 };
        let second = (draw.below(4) == 0).then(|| {
            let mut others = passed(operation);
            others.extend(passed(Operation::Restart));
            let (who, point, _) = others.get(draw.below(others.len())).copied().unwrap_or((who, point, 1));
            Strike { who, point, nth: 1, everybody: draw.below(6) == 0 }
        });
        let delivery = match point {
            P::SiteOrderCouriered | P::SiteOrderSettled => Delivery::Site(who),
            _ => match draw.below(4) {
                0 => Delivery::HandFirst,
                1 => Delivery::Together,
                2 => Delivery::Site(if draw.below(2) == 0 { Who::Main } else { Who::Branch }),
                _ => Delivery::Ledger,
            },
        };
        Self { seed, operation, delivery, first, second, turn: draw.below(Who::ALL.len()) }
    }

    /// The services in the order in which they come back.
    pub(crate) fn order(&self) -> [Who; 4] {
        let mut order = Who::ALL;
        order.rotate_left(self.turn);
        order
    }
}

fn stride(length: u64) -> u64 {
    let divides = |a: u64, b: u64| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (length / 3 + 1..).find(|&stride| divides(stride, length) == 1).unwrap_or(1)
}
