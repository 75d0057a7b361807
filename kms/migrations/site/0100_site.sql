-- What is dead at this site for ever, and by which order (P-8.1). Nothing is ever deleted here.
CREATE TABLE site_dead (
    kind     TEXT NOT NULL CHECK (kind IN ('grant', 'card', 'member', 'contract', 'file', 'slip', 'site')),
    -- Of a slip: the digest of its batch, and its place in 8 bytes, if it is not all of them.
    id       BLOB NOT NULL CHECK (length(id) IN (16, 32, 40)),
    by_order BLOB NOT NULL CHECK (length(by_order) = 32),
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Suspensions that were brought by hand. They lapse with their order, and are deleted once the ledger confirms it.
CREATE TABLE site_suspended (
    card     BLOB    NOT NULL CHECK (length(card) = 16),
    by_order BLOB    NOT NULL CHECK (length(by_order) = 32),
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (card, by_order)
) STRICT, WITHOUT ROWID;

-- The orders that were acted on: the grants whose key pairs are destroyed for them, and the signed receipt once they are.
CREATE TABLE site_revocation (
    by_order BLOB    NOT NULL PRIMARY KEY CHECK (length(by_order) = 32),
    destroys BLOB    NOT NULL CHECK (length(destroys) % 16 = 0),
    receipt  TEXT,
    accepted INTEGER NOT NULL DEFAULT 0 CHECK (accepted IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX site_revocation_open ON site_revocation (by_order) WHERE accepted = 0;

-- Orders that were brought by hand, as JSON envelopes, until the ledger has them or the kms has refused them for good.
CREATE TABLE site_courier (
    by_order BLOB NOT NULL PRIMARY KEY CHECK (length(by_order) = 32),
    envelope TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Grants whose public key the kms has accepted.
CREATE TABLE site_announced (
    grant_id BLOB NOT NULL PRIMARY KEY CHECK (length(grant_id) = 16)
) STRICT, WITHOUT ROWID;

-- Site shares, wrapped to key pairs that never leave the HSM.
CREATE TABLE site_share (
    grant_id     BLOB    NOT NULL PRIMARY KEY CHECK (length(grant_id) = 16),
    wrapped      BLOB    NOT NULL,
    acknowledged INTEGER NOT NULL DEFAULT 0 CHECK (acknowledged IN (0, 1))
) STRICT, WITHOUT ROWID;

-- How many leaves have been acted on, and whether this site had joined by then.
CREATE TABLE site_position (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    leaves INTEGER NOT NULL CHECK (leaves >= 0),
    joined INTEGER NOT NULL CHECK (joined IN (0, 1))
) STRICT, WITHOUT ROWID;
INSERT INTO site_position (one, leaves, joined) VALUES (1, 0, 0);

-- Which journal is written: drawn with the database, and anew where the one of before cannot be gone on with (P-13.4).
CREATE TABLE site_journal_id (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    journal BLOB    NOT NULL CHECK (length(journal) = 16)
) STRICT;
INSERT INTO site_journal_id (one, journal) VALUES (1, randomblob(16));

-- The audit journal: one row for each partial, written before it is computed (P-7.2), chained by hash (P-13.1).
CREATE TABLE site_journal (
    idx      INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0),
    time_ms  INTEGER NOT NULL,
    card     BLOB NOT NULL CHECK (length(card) = 16),
    member   BLOB NOT NULL CHECK (length(member) = 16),
    grant_id BLOB NOT NULL CHECK (length(grant_id) = 16),
    unit     BLOB NOT NULL CHECK (length(unit) = 16),
    file     BLOB NOT NULL CHECK (length(file) = 32),
    previous BLOB NOT NULL CHECK (length(previous) = 32),
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- The rows of journals that were given up, as they were.
CREATE TABLE site_former_journal (
    journal  BLOB NOT NULL,
    idx      INTEGER NOT NULL,
    time_ms  INTEGER NOT NULL,
    card     BLOB NOT NULL,
    member   BLOB NOT NULL,
    grant_id BLOB NOT NULL,
    unit     BLOB NOT NULL,
    file     BLOB NOT NULL,
    previous BLOB NOT NULL,
    hash     BLOB NOT NULL,
    PRIMARY KEY (journal, idx)
) STRICT, WITHOUT ROWID;

-- Names from the register, for people to read. A copy: it is replaced as a whole whenever the kms gives a newer one.
CREATE TABLE site_name (
    record BLOB NOT NULL PRIMARY KEY CHECK (length(record) = 16),
    text   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Batches of slips until they are over: those that cards brought here, and those of which something came from the kms.
CREATE TABLE site_slips (
    batch      BLOB    NOT NULL PRIMARY KEY CHECK (length(batch) = 32),
    grant_id   BLOB    NOT NULL CHECK (length(grant_id) = 16),
    envelope   TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    -- What the card was answered that brought it here, as JSON.
    answer     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX site_slips_by_end ON site_slips (expires_at);

-- Their slips, as far as they concern this site, each as JSON with its proof.
CREATE TABLE site_slip (
    batch        BLOB    NOT NULL,
    idx          INTEGER NOT NULL,
    file         BLOB    NOT NULL CHECK (length(file) = 32),
    stanza       BLOB    NOT NULL CHECK (length(stanza) = 32),
    target       BLOB    NOT NULL CHECK (length(target) = 16),
    origin_batch BLOB,
    origin_idx   INTEGER,
    proved       TEXT    NOT NULL,
    PRIMARY KEY (batch, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX site_slip_of_stanza ON site_slip (stanza);
CREATE INDEX site_slip_of_file ON site_slip (file);
CREATE INDEX site_slip_of_origin ON site_slip (origin_batch, origin_idx) WHERE origin_batch IS NOT NULL;

-- Parts of these files, by the sites that computed them, sealed to this site's transport key (P-15.3).
CREATE TABLE site_part (
    batch   BLOB    NOT NULL,
    idx     INTEGER NOT NULL,
    by_site BLOB    NOT NULL CHECK (length(by_site) = 16),
    sealed  BLOB    NOT NULL CHECK (length(sealed) = 113),
    PRIMARY KEY (batch, idx, by_site)
) STRICT, WITHOUT ROWID;

-- Batches that cards brought here, as they did, until the kms has all of them.
CREATE TABLE site_outbox (
    batch   BLOB NOT NULL PRIMARY KEY CHECK (length(batch) = 32),
    brought TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The place of the last parcel that came from the kms.
CREATE TABLE site_inbox (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    place INTEGER NOT NULL CHECK (place >= 0)
) STRICT;
INSERT INTO site_inbox (one, place) VALUES (1, 0);
