-- What the authority keeps beside the ledger. Ids are 16 bytes, digests 32, points 33 (SEC1 compressed); instants are
-- milliseconds since the Unix epoch, UTC.

-- Where each statement stands in the ledger, by its digest; written with its leaf.
CREATE TABLE entry (
    digest BLOB NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    is_order INTEGER NOT NULL,
    -- The lease that the policy set before this entry.
    lease_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The register: erasable.
CREATE TABLE record (
    id BLOB NOT NULL PRIMARY KEY,
    key BLOB NOT NULL,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The last stamp that each service was given while the ledger had that many entries.
CREATE TABLE stamp_given (
    site BLOB NOT NULL,
    size INTEGER NOT NULL,
    time INTEGER NOT NULL,
    lease_ms INTEGER NOT NULL,
    PRIMARY KEY (site, size)
) STRICT, WITHOUT ROWID;

-- The time of the last stamp given to anybody: no leaf is older.
CREATE TABLE stamp_clock (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    time INTEGER NOT NULL
) STRICT;

-- Keeper halves, sealed by the HSM.
CREATE TABLE keeper_half (
    unit BLOB NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The key pairs that sites made for grants, with the signed statements: another site believes nothing else.
CREATE TABLE grant_key (
    grant_id BLOB NOT NULL,
    site BLOB NOT NULL,
    key BLOB NOT NULL,
    statement TEXT NOT NULL,
    PRIMARY KEY (grant_id, site)
) STRICT, WITHOUT ROWID;

-- A, B, and the card share sealed to the card, until the card has it.
CREATE TABLE card_share (
    grant_id BLOB NOT NULL PRIMARY KEY,
    card_point BLOB NOT NULL,
    site_point BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Cards' PUKs, each sealed to the officers' cards: a JSON array. Erasable.
CREATE TABLE puk (
    card BLOB NOT NULL PRIMARY KEY,
    seals TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Site shares wrapped to sites, until they have them.
CREATE TABLE wrap (
    grant_id BLOB NOT NULL,
    site BLOB NOT NULL,
    wrapped BLOB NOT NULL,
    -- The site that wrapped it; none if this kms did.
    by_site BLOB,
    PRIMARY KEY (grant_id, site)
) STRICT, WITHOUT ROWID;

-- Whose wraps a site has found to be no share: they are asked for no more.
CREATE TABLE refused_wrap (
    grant_id BLOB NOT NULL,
    site BLOB NOT NULL,
    by_site BLOB NOT NULL,
    PRIMARY KEY (grant_id, site, by_site)
) STRICT, WITHOUT ROWID;

-- The sites that have unwrapped and checked their share.
CREATE TABLE acknowledgement (
    grant_id BLOB NOT NULL,
    site BLOB NOT NULL,
    PRIMARY KEY (grant_id, site)
) STRICT, WITHOUT ROWID;
CREATE INDEX acknowledgement_of_site ON acknowledgement (site);

-- What the ca issued: a JSON array of base64 DER.
CREATE TABLE certificate (
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    chain TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- The newest CRL of each issuer.
CREATE TABLE crl (
    issuer TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Signed receipts, as JSON envelopes, in the order in which they came.
CREATE TABLE receipt (
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    order_digest BLOB NOT NULL,
    site BLOB NOT NULL,
    envelope TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    UNIQUE (order_digest, site)
) STRICT;

-- The newest checkpoint that the ca cosigned: the note with its signature alone.
CREATE TABLE cosignature (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;

-- Orders that wait for a second person: the order with its signatures and records, as JSON, until it is appended, or erased
-- because it was withdrawn or has expired.
CREATE TABLE proposal (
    digest BLOB NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    request TEXT,
    ended TEXT CHECK (ended IN ('withdrawn', 'expired')),
    CHECK ((request IS NULL) = (ended IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- The members who have signed a proposal.
CREATE TABLE proposal_signer (
    digest BLOB NOT NULL REFERENCES proposal (digest) ON DELETE CASCADE,
    member BLOB NOT NULL,
    PRIMARY KEY (digest, member)
) STRICT, WITHOUT ROWID;

-- The audit journals of sites, in the order in which they were begun: how far each is here, with the site's signature.
CREATE TABLE journal (
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    site BLOB NOT NULL,
    journal BLOB NOT NULL,
    size INTEGER NOT NULL,
    head BLOB NOT NULL,
    time INTEGER NOT NULL,
    signature BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    -- Since when rows wait for their head to be committed into the ledger; none if none do.
    waiting_since INTEGER,
    UNIQUE (site, journal)
) STRICT;

-- Their rows (P-13.1), by the place of the journal.
CREATE TABLE journal_row (
    place INTEGER NOT NULL REFERENCES journal (place),
    idx INTEGER NOT NULL,
    time INTEGER NOT NULL,
    card BLOB NOT NULL,
    member BLOB NOT NULL,
    grant_id BLOB NOT NULL,
    unit BLOB NOT NULL,
    file BLOB NOT NULL,
    previous BLOB NOT NULL,
    PRIMARY KEY (place, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX journal_row_of_file ON journal_row (file);

-- What no honest journal does.
CREATE TABLE journal_alarm (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    site BLOB NOT NULL,
    journal BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('broken', 'given-up')),
    idx INTEGER NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (site, journal, kind, idx)
) STRICT;

-- Batches of slips as sites have brought them, JSON, until they are over.
CREATE TABLE slip_batch (
    digest BLOB NOT NULL PRIMARY KEY,
    brought TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    -- Since when it waits to be committed into the ledger; none once it is.
    waiting_since INTEGER
) STRICT, WITHOUT ROWID;

-- What a site has released of a batch for another, in the order in which it came: a JSON envelope.
CREATE TABLE slip_parcel (
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    batch BLOB NOT NULL REFERENCES slip_batch (digest),
    by_site BLOB NOT NULL,
    to_site BLOB NOT NULL,
    -- Leaves of the ledger when it came.
    size INTEGER NOT NULL,
    released TEXT NOT NULL,
    UNIQUE (batch, by_site, to_site)
) STRICT;
CREATE INDEX slip_parcel_for_site ON slip_parcel (to_site, place);

-- The newest directory of each organization that is trusted: nothing older is taken.
CREATE TABLE trusted_directory (
    organization BLOB NOT NULL PRIMARY KEY,
    -- The leaf that had pinned it when the directory came.
    added INTEGER NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    -- The leaf of its own ledger that gave its kms the keys it has; none if these are the pinned ones.
    keys_since INTEGER,
    at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL,
    -- A JSON envelope, and the exact bytes that it is about.
    statement TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What last went wrong with one, alarms apart from what merely breaks off.
CREATE TABLE trust_trouble (
    organization BLOB NOT NULL,
    alarm INTEGER NOT NULL CHECK (alarm IN (0, 1)),
    added INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (organization, alarm)
) STRICT, WITHOUT ROWID;

-- Deliveries: what was offered, JSON, until the file is deleted; and what the sender may still ask, until it is over.
CREATE TABLE delivery (
    id BLOB NOT NULL PRIMARY KEY,
    -- Of what was offered, so that the same again is known as such.
    digest BLOB NOT NULL,
    offered TEXT,
    -- The sender's; none if nobody signed it.
    organization BLOB,
    -- The sender's, if one signed it.
    card BLOB,
    size INTEGER NOT NULL,
    -- SHA-256 of the ciphertext; of what nobody signed, once it is complete.
    file BLOB,
    offered_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('arriving', 'quarantined', 'arrived', 'deleted')),
    -- Whether all of it was here once, and was another file.
    other_file INTEGER NOT NULL DEFAULT 0,
    arrived_at INTEGER,
    -- What there was to say to who sent it when it was signed last.
    received TEXT,
    -- When the file is deleted; once it is, since when it was.
    kept_until INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK ((offered IS NULL) = (state = 'deleted'))
) STRICT, WITHOUT ROWID;
-- What is over stays here for long, and costs those who come nothing.
CREATE INDEX delivery_kept ON delivery (kept_until) WHERE state <> 'deleted';
CREATE INDEX delivery_arriving ON delivery (offered_at) WHERE state = 'arriving';
CREATE INDEX delivery_over ON delivery (expires_at) WHERE state = 'deleted';
CREATE INDEX delivery_from ON delivery (organization, state, size) WHERE state <> 'deleted';

-- The units that it is for.
CREATE TABLE delivery_unit (
    delivery BLOB NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    unit BLOB NOT NULL,
    PRIMARY KEY (delivery, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_unit_of ON delivery_unit (unit);

-- The parts that lie in the folder of the box.
CREATE TABLE delivery_part (
    delivery BLOB NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    part INTEGER NOT NULL,
    PRIMARY KEY (delivery, part)
) STRICT, WITHOUT ROWID;

-- Where deliveries lie, in the order in which they came there.
CREATE TABLE delivery_place (
    place INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    delivery BLOB NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    unit BLOB NOT NULL,
    -- The unit that it was sent to, and the one that passed it on to this one.
    addressee BLOB NOT NULL,
    passed_by BLOB,
    handling TEXT NOT NULL CHECK (handling IN ('waiting', 'accepted', 'returned', 'passed-on')),
    at INTEGER,
    reason TEXT,
    to_unit BLOB,
    card BLOB,
    UNIQUE (delivery, unit)
) STRICT;
CREATE INDEX delivery_place_at ON delivery_place (unit, place);
