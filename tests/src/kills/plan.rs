//! What is killed where: every operation with the points that its processes pass, and random moments besides.

#[allow(clippy::wildcard_imports, clippy::enum_glob_use, reason = "a table of them follows")]
use warifu_crash_point::CrashPoint::{self, *};

/// Where the two consoles die while the organization is founded, before each town.
pub(super) const FOUNDING: [CrashPoint; 4] =
    [CaFoundingPinned, CaFoundingWritten, KmsFoundingChecked, KmsFoundingAppended];
/// Where the desk's agent dies while a site joins.
pub(super) const JOINING: CrashPoint = AgentProfileWritten;
/// A site comes there only where the kms has not taken an order that the site has: one kill is not enough. `tests/crash`
/// brings orders to sites alone.
#[cfg(test)]
const COURIERED: [CrashPoint; 2] = [SiteOrderCouriered, SiteOrderSettled];
/// Where a service dies that goes on with new keys: struck by `tests/tests/e2e/rotation.rs`, at the ca, the kms and a site.
#[cfg(test)]
const ROTATING: CrashPoint = FormerKeyDestroyed;
/// Where kms and sites die while files are routed: struck by `kms/tests/site/routing` and `kms/tests/authority/slips.rs`.
#[cfg(test)]
const ROUTING: [CrashPoint; 7] = [
    KmsSlipsKept,
    KmsReleasedKept,
    SiteRoutesRecorded,
    SiteRoutesKept,
    SiteSlipsBrought,
    SiteSlipsSettled,
    SiteParcelTaken,
];
/// Where the kms dies while a delivery comes, or ends: struck by `kms/tests/authority/deliveries`.
#[cfg(test)]
const DELIVERING: [CrashPoint; 3] = [KmsPartWritten, KmsDeliveryArrived, KmsDeliveryEnded];

/// What people do while a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A department gets its key.
    AddUnit,
    /// A member gets a card and a grant.
    Enroll,
    /// A file is exported.
    Export,
    /// A file is shown.
    View,
    /// A card is suspended.
    Suspend,
    /// A card is resumed.
    Resume,
    /// An order waits for a second person.
    Propose,
    /// It is withdrawn.
    Withdraw,
    /// A member's access ends.
    Revoke,
    /// A contract ends.
    EndContract,
}

impl Operation {
    /// All, in the order of a member's days.
    pub const ALL: [Self; 10] = [
        Self::AddUnit,
        Self::Enroll,
        Self::Export,
        Self::View,
        Self::Suspend,
        Self::Resume,
        Self::Propose,
        Self::Withdraw,
        Self::Revoke,
        Self::EndContract,
    ];

    /// Every process, and every point, at which this operation is struck at least once in a whole run.
    #[must_use]
    pub fn points(self) -> Vec<(&'static str, CrashPoint)> {
        let kms: &[CrashPoint] = match self {
            Self::AddUnit => &[
                KmsOrderChecked,
                KmsOrderAppended,
                KmsOrderDone,
                KmsHalfKept,
                KmsHalfSigned,
                KmsFactChecked,
                KmsFactAppended,
            ],
            Self::Enroll => &[
                KmsOrderChecked,
                KmsOrderAppended,
                KmsOrderDone,
                KmsGrantKeyKept,
                KmsShareKept,
                KmsShareSigned,
                KmsFactChecked,
                KmsFactAppended,
                KmsAckKept,
                KmsImportKept,
                KmsCertificateKept,
                KmsStampKept,
                KmsCosignatureKept,
            ],
            Self::Revoke | Self::EndContract => &[
                KmsOrderChecked,
                KmsOrderAppended,
                KmsOrderDone,
                KmsReceiptKept,
                KmsCrlKept,
                KmsCosignatureKept,
            ],
            Self::Suspend | Self::Resume => &[KmsOrderChecked, KmsOrderAppended, KmsOrderDone],
            Self::Propose => &[KmsProposalKept],
            Self::Withdraw => &[KmsProposalWithdrawn],
            Self::Export | Self::View => &[],
        };
        let ca: &[CrashPoint] = match self {
            Self::AddUnit => &[CaHalfKept, CaHalfPosted, CaUnitSigned, CaUnitPosted],
            Self::Enroll => &[
                CaShareKept,
                CaShareMade,
                CaSharePosted,
                CaGrantSigned,
                CaGrantPosted,
                CaShareForgotten,
                CaCertificateKept,
                CaCertificatePosted,
                CaCertificateSent,
                CaCosignedRemembered,
                CaCosignedPosted,
                ReplicaLeavesStored,
                ReplicaStampStored,
            ],
            Self::Revoke | Self::EndContract => &[
                CaRevocationKept,
                CaCrlKept,
                CaCrlPosted,
                CaCosignedRemembered,
                CaCosignedPosted,
                ReplicaLeavesStored,
            ],
            _ => &[],
        };
        let site: &[CrashPoint] = match self {
            Self::Enroll => &[
                ReplicaLeavesStored,
                ReplicaStampStored,
                SiteLeafRead,
                SiteLeafActedOn,
                SitePositionKept,
                SiteKeyPairMade,
                SiteKeyPairPosted,
                SiteKeyPairAnnounced,
                SiteShareChecked,
                SiteShareStored,
                SiteShareAcknowledged,
                SiteShareSettled,
            ],
            Self::Export | Self::View => &[SiteJournalRecorded, SitePartialComputed],
            Self::Suspend | Self::Resume => &[SiteLeafRead, SiteLeafActedOn, SitePositionKept],
            Self::Revoke | Self::EndContract => &[
                SiteLeafRead,
                SiteLeafActedOn,
                SitePositionKept,
                SiteOrderMarked,
                SiteKeyPairDestroyed,
                SiteRowsForgotten,
                SiteConnectionsCut,
                SiteReceiptSigned,
                SiteReceiptStored,
                SiteReceiptDelivered,
                SiteReceiptSettled,
            ],
            Self::AddUnit | Self::Propose | Self::Withdraw => &[],
        };
        let desk: &[CrashPoint] = match self {
            Self::Enroll => &[
                AgentPinChanged,
                AgentManagementKeyKept,
                AgentManagementKeySet,
                AgentKeysGenerated,
                AgentOrderSigned,
                AgentPukEscrowed,
                AgentPukChanged,
                AgentCertificatesWritten,
                AgentShareKeyImported,
                AgentShareImported,
                AgentImportConfirmed,
            ],
            Self::Export | Self::View | Self::Withdraw => &[],
            _ => &[AgentOrderSigned],
        };
        let pc: &[CrashPoint] = match self {
            Self::Export => &[AgentOutputWritten],
            Self::View => &[AgentOutputWritten, AgentPlaintextWritten],
            _ => &[],
        };
        let parts =
            [("kms", kms), ("ca", ca), ("honcho", site), ("omachi", site), ("desk", desk), ("office", pc)];
        parts.into_iter().flat_map(|(who, points)| points.iter().map(move |point| (who, *point))).collect()
    }

    /// Who may die at a random moment of it.
    #[must_use]
    pub fn victims(self) -> &'static [&'static str] {
        match self {
            Self::Export | Self::View => &["kms", "honcho", "omachi", "office"],
            _ => &["kms", "ca", "honcho", "omachi", "desk"],
        }
    }
}

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// By itself, at a point.
    Point(CrashPoint),
    /// By `kill -9`, so many milliseconds after the command began.
    After(u64),
}

/// One kill.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What people do.
    pub operation: Operation,
    /// The process.
    pub victim: &'static str,
    /// How it dies.
    pub fall: Fall,
}

/// A generator that a seed determines: all that is needed is variety, the same every time.
struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `limit`, which is not 0. (SplitMix64.)
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 16).unwrap_or_default() % limit.max(1)
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// The kills that are still to come, by operation.
pub struct Plan {
    left: Vec<Case>,
}

impl Plan {
    /// Every point of every operation once, and random moments up to `kills`; or, if that is too many, a share of them in
    /// which every process and every operation is met.
    #[must_use]
    pub fn new(kills: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut all: Vec<Case> = Operation::ALL
            .into_iter()
            .flat_map(|operation| {
                let points = operation.points().into_iter();
                points.map(move |(victim, point)| Case { operation, victim, fall: Fall::Point(point) })
            })
            .collect();
        for upper in (1..all.len()).rev() {
            all.swap(upper, dice.below(upper + 1));
        }
        // Of each pair of process and operation one comes first, and of each process and each operation one before those.
        let mut rank: Vec<(usize, Case)> = Vec::new();
        for case in all {
            let met = |same: &dyn Fn(&Case) -> bool| rank.iter().any(|(_, other)| same(other));
            let new_operation = !met(&|other| other.operation == case.operation);
            let new_victim = !met(&|other| other.victim == case.victim);
            let new_pair = !met(&|other| other.operation == case.operation && other.victim == case.victim);
            let weight = if new_operation || new_victim { 0 } else { 2 - usize::from(new_pair) };
            rank.push((weight, case));
        }
        rank.sort_by_key(|(weight, _)| *weight);
        let mut left: Vec<Case> = rank.into_iter().map(|(_, case)| case).take(kills).collect();
        while left.len() < kills {
            let operation = dice.pick(&Operation::ALL).copied().unwrap_or(Operation::Enroll);
            let victim = dice.pick(operation.victims()).copied().unwrap_or("kms");
            left.push(Case { operation, victim, fall: Fall::After(dice.below(1500) as u64) });
        }
        Self { left }
    }

    /// One kill, as `OPERATION:PROCESS:POINT` or `OPERATION:PROCESS:MILLISECONDS`: `Enroll:kms:kms.order.appended`.
    #[must_use]
    pub fn one(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ':');
        let (operation, victim, fall) = (words.next()?, words.next()?, words.next()?);
        let operation = Operation::ALL.into_iter().find(|known| format!("{known:?}") == operation)?;
        let fall = match fall.parse() {
            Ok(moment) => Fall::After(moment),
            Err(_) => Fall::Point(CrashPoint::named(fall)?),
        };
        let victims = ["kms", "ca", "honcho", "omachi", "desk", "office"];
        let victim = victims.into_iter().find(|known| *known == victim)?;
        Some(Self { left: vec![Case { operation, victim, fall }] })
    }

    /// Who is to die next during this operation, if any kill is left for it.
    #[must_use]
    pub fn victim(&self, operation: Operation) -> Option<&'static str> {
        self.left.iter().find(|case| case.operation == operation).map(|case| case.victim)
    }

    /// The next kill during this operation, if any is left.
    pub fn next(&mut self, operation: Operation) -> Option<Case> {
        let index = self.left.iter().position(|case| case.operation == operation)?;
        Some(self.left.remove(index))
    }

    /// Whether kills are left in any of these operations.
    #[must_use]
    pub fn has(&self, operations: &[Operation]) -> bool {
        self.left.iter().any(|case| operations.contains(&case.operation))
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A new point has to be struck in some operation, by every process that passes it.
    #[test]
    fn no_point_is_left_out() {
        let mut struck: BTreeSet<CrashPoint> = FOUNDING
            .into_iter()
            .chain([JOINING, ROTATING])
            .chain(COURIERED)
            .chain(ROUTING)
            .chain(DELIVERING)
            .collect();
        struck.extend(Operation::ALL.into_iter().flat_map(Operation::points).map(|(_, point)| point));
        let left_out: Vec<&str> = CrashPoint::ALL
            .iter()
            .filter(|point| !struck.contains(point))
            .map(|point| point.name())
            .collect();
        assert_eq!(left_out, Vec::<&str>::new());
    }

    #[test]
    fn a_share_meets_every_operation_and_every_process() {
        for seed in 0..200 {
            let plan = Plan::new(16, seed);
            let operations: BTreeSet<Operation> = plan.left.iter().map(|case| case.operation).collect();
            let victims: BTreeSet<&str> = plan.left.iter().map(|case| case.victim).collect();
            assert_eq!((operations.len(), victims.len()), (10, 6), "seed {seed}");
        }
    }
}
