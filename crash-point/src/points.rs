//! The points, by program.

/// A program that has points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// Every program that keeps a copy of the ledger.
    Replica,
    /// `warifu-kms authority`.
    Kms,
    /// `warifu-ca`.
    Ca,
    /// `warifu-kms site`.
    Site,
    /// `warifu-agent`.
    Agent,
}

macro_rules! points {
    ($($point:ident $program:ident $name:literal $doc:literal)*) => {
        /// A named place where the process can be ended. Each lies between two steps of which the first is durable, or
        /// has left the process, and the second is not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CrashPoint {
            $(#[doc = $doc] $point,)*
        }

        impl CrashPoint {
            /// Every point, grouped by program, in the order of the steps.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Its name, as `WARIFU_CRASH_AT` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name),* }
            }

            /// What is durable there, and what is not yet.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$point => $doc),* }
            }

            /// The program that passes it.
            #[must_use]
            pub const fn program(self) -> Program {
                match self { $(Self::$point => Program::$program),* }
            }

            /// The point of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|point| point.name() == name)
            }
        }
    };
}

points! {
    ReplicaLeavesStored Replica "replica.leaves.stored" "Leaves are durable; the state in memory is the one before them."
    ReplicaStampStored Replica "replica.stamp.stored" "The time of a stamp is durable; the lease does not run by it yet."

    FormerKeyDestroyed Replica "replica.former-key.destroyed" "A former key of the service is destroyed; the next one, or the service's start, is not."

    KmsFoundingChecked Kms "kms.founding.checked" "The founding may become entry 0; nothing of it is durable."
    KmsFoundingAppended Kms "kms.founding.appended" "Entry 0 is durable; nobody has been told."
    KmsOrderChecked Kms "kms.order.checked" "An order has come to its turn; nothing of it is durable."
    KmsOrderAppended Kms "kms.order.appended" "The leaf is durable and published; what it ended is still stored."
    KmsOrderDone Kms "kms.order.done" "Everything is durable; the answer has not left."
    KmsProposalKept Kms "kms.proposal.kept" "An order that waits for a second person is durable; the answer has not left."
    KmsProposalWithdrawn Kms "kms.proposal.withdrawn" "A proposal is erased; the answer has not left."
    KmsFactChecked Kms "kms.fact.checked" "A fact has come to its turn; nothing of it is durable."
    KmsFactAppended Kms "kms.fact.appended" "The fact's leaf is durable and published; the answer has not left."
    KmsHalfKept Kms "kms.half.kept" "The keeper half is durable; nothing made from it has left."
    KmsHalfSigned Kms "kms.half.signed" "`unit.created` is signed; the answer has not left."
    KmsGrantKeyKept Kms "kms.grant-key.kept" "A site's key for a grant is durable; the answer has not left."
    KmsShareKept Kms "kms.share.kept" "The sealed card share and the wraps are durable; `grant.issued` is not signed."
    KmsShareSigned Kms "kms.share.signed" "`grant.issued` is signed; the answer has not left."
    KmsAckKept Kms "kms.ack.kept" "A site's acknowledgement is durable and its wrap deleted; the answer has not left."
    KmsImportKept Kms "kms.import.kept" "The sealed card share is deleted; the answer has not left."
    KmsStampKept Kms "kms.stamp.kept" "The time of a stamp is durable; the stamp has not left."
    KmsReceiptKept Kms "kms.receipt.kept" "A site's receipt is durable; the answer has not left."
    KmsCosignatureKept Kms "kms.cosignature.kept" "The ca's cosignature is durable; the answer has not left."
    KmsCertificateKept Kms "kms.certificate.kept" "A certificate is durable; the answer has not left."
    KmsSlipsKept Kms "kms.slips.kept" "Slips are durable; the answer has not left."
    KmsReleasedKept Kms "kms.released.kept" "Parts for a site are durable; neither the answer nor the word to that site has left."
    KmsPartWritten Kms "kms.part.written" "A part of a delivery is in the folder; the database does not know."
    KmsDeliveryArrived Kms "kms.delivery.arrived" "A delivery lies at its units, durably; the answer has not left."
    KmsDeliveryEnded Kms "kms.delivery.ended" "What is over is erased from the database; its files lie in the folder."
    KmsCrlKept Kms "kms.crl.kept" "A CRL is durable; it is not served yet."

    CaFoundingPinned Ca "ca.founding.pinned" "The organization is pinned; the signed founding is not written."
    CaFoundingWritten Ca "ca.founding.written" "The signed founding is written; the command has not ended."
    CaHalfKept Ca "ca.half.kept" "The issuer half is durable; nothing made from it has left."
    CaHalfPosted Ca "ca.half.posted" "The kms has answered with its half; the ca has signed nothing."
    CaUnitSigned Ca "ca.unit.signed" "The ca has signed `unit.created`; the kms has not got it back."
    CaUnitPosted Ca "ca.unit.posted" "The kms has appended `unit.created`; the ca has not folded it perhaps."
    CaShareKept Ca "ca.share.kept" "The card share is durable; nothing made from it has left."
    CaShareMade Ca "ca.share.made" "The difference and the sealed share are made; they have not left."
    CaSharePosted Ca "ca.share.posted" "The kms has answered with `grant.issued`; the ca has signed nothing."
    CaGrantSigned Ca "ca.grant.signed" "The ca has signed `grant.issued`; the kms has not got it back."
    CaGrantPosted Ca "ca.grant.posted" "The kms has appended `grant.issued`; the card share is still kept."
    CaShareForgotten Ca "ca.share.forgotten" "The card share is deleted; the certificate over it is not made."
    CaCertificateKept Ca "ca.certificate.kept" "A certificate is durable; it has not left."
    CaCertificatePosted Ca "ca.certificate.posted" "The kms has a certificate; that it has is not durable here."
    CaCertificateSent Ca "ca.certificate.sent" "That the kms has a certificate is durable."
    CaRevocationKept Ca "ca.revocation.kept" "That certificates count no more is durable; no CRL says so."
    CaCrlKept Ca "ca.crl.kept" "A CRL is durable; it has not left."
    CaCrlPosted Ca "ca.crl.posted" "The kms has a CRL; the ca has not heard so perhaps."
    CaCosignedRemembered Ca "ca.cosigned.remembered" "A checkpoint is remembered as cosigned; the cosignature is not made."
    CaCosignedPosted Ca "ca.cosigned.posted" "The kms has the cosignature."

    SiteLeafRead Site "site.leaf.read" "A leaf is durable; it has not been acted on."
    SiteLeafActedOn Site "site.leaf.acted-on" "A leaf has been acted on; that it has is not durable."
    SitePositionKept Site "site.position.kept" "That leaves have been acted on is durable."
    SiteKeyPairMade Site "site.key-pair.made" "A grant's key pair is in the HSM; nobody has its public key."
    SiteKeyPairPosted Site "site.key-pair.posted" "The kms has the public key; that it has is not durable here."
    SiteKeyPairAnnounced Site "site.key-pair.announced" "That the kms has the public key is durable."
    SiteShareChecked Site "site.share.checked" "The HSM has checked the share; it is not stored."
    SiteShareStored Site "site.share.stored" "The share is durable; the kms does not know."
    SiteShareAcknowledged Site "site.share.acknowledged" "The kms knows that the share is here; that it does is not durable here."
    SiteShareSettled Site "site.share.settled" "The share and the acknowledgement are durable."
    SiteOrderMarked Site "site.order.marked" "What an order ends is marked as dead; no key pair is destroyed."
    SiteKeyPairDestroyed Site "site.key-pair.destroyed" "One key pair is destroyed, others that end with it perhaps not; the rows are there."
    SiteRowsForgotten Site "site.rows.forgotten" "Key pairs and rows are gone; connections are not cut."
    SiteConnectionsCut Site "site.connections.cut" "Connections are cut; there is no receipt."
    SiteReceiptSigned Site "site.receipt.signed" "The receipt is signed; it is not stored."
    SiteReceiptStored Site "site.receipt.stored" "The receipt is durable; nobody has it."
    SiteReceiptDelivered Site "site.receipt.delivered" "The kms has the receipt; that it has is not durable here."
    SiteReceiptSettled Site "site.receipt.settled" "The receipt and its delivery are durable."
    SiteOrderCouriered Site "site.order.couriered" "The kms has answered to an order that was brought by hand; that it has is not durable here."
    SiteOrderSettled Site "site.order.settled" "The kms's answer to an order that was brought by hand is durable."
    SiteJournalRecorded Site "site.journal.recorded" "The audit record is durable; the HSM has computed nothing."
    SitePartialComputed Site "site.partial.computed" "The HSM has computed a partial; it has not left."
    SiteRoutesRecorded Site "site.routes.recorded" "The audit records of slips are durable; the HSM has computed nothing."
    SiteRoutesKept Site "site.routes.kept" "Slips and parts are durable; the answer has not left."
    SiteSlipsBrought Site "site.slips.brought" "The kms has slips and what is released of them; that it has is not durable here."
    SiteSlipsSettled Site "site.slips.settled" "That the kms has the slips is durable."
    SiteParcelTaken Site "site.parcel.taken" "What another site released is durable."

    AgentPinChanged Agent "agent.pin.changed" "A new card has its member's PIN; its management key is the factory's."
    AgentManagementKeyKept Agent "agent.management-key.kept" "A new management key lies behind the card's PIN; the factory's still holds."
    AgentManagementKeySet Agent "agent.management-key.set" "The new management key holds; the card does not say yet where it lies."
    AgentKeysGenerated Agent "agent.keys.generated" "The three keys are on the card; nobody knows their public halves."
    AgentPukEscrowed Agent "agent.puk.escrowed" "The kms keeps a new PUK, sealed to the officers; the card has the factory's."
    AgentPukChanged Agent "agent.puk.changed" "The card has its new PUK; it has no certificates."
    AgentCertificatesWritten Agent "agent.certificates.written" "The card has its certificates; shares are not imported."
    AgentShareKeyImported Agent "agent.share.key-imported" "A share is on the card; its certificate is not."
    AgentShareImported Agent "agent.share.imported" "Share and certificate are on the card; the kms does not know."
    AgentImportConfirmed Agent "agent.import.confirmed" "The kms has deleted the sealed share."
    AgentOrderSigned Agent "agent.order.signed" "A card has signed; nobody has the signature."
    AgentOutputWritten Agent "agent.output.written" "The plaintext is written whole; it has not its name yet."
    AgentPlaintextWritten Agent "agent.plaintext.written" "The plaintext lies in memory under its name; no viewer runs."
    AgentProfileWritten Agent "agent.profile.written" "A new profile is written; the agent does not go by it yet."
}
