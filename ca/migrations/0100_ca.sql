-- The organization that this ca serves: entry 0 has this digest, and no other is ever taken.
CREATE TABLE organization (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    digest BLOB    NOT NULL CHECK (length(digest) = 32),
    -- The kms's TLS key as the founding names it, SEC1 compressed.
    kms    BLOB    NOT NULL CHECK (length(kms) = 33)
) STRICT;

-- s1 of each unit, sealed by the HSM. Never deleted.
CREATE TABLE issuer_half (
    unit   BLOB NOT NULL PRIMARY KEY CHECK (length(unit) = 16),
    sealed BLOB NOT NULL
) STRICT;

-- a of each grant, sealed by the HSM, until the ledger says that the grant is issued or over.
CREATE TABLE card_share (
    grant_id BLOB NOT NULL PRIMARY KEY CHECK (length(grant_id) = 16),
    sealed   BLOB NOT NULL
) STRICT;

-- The newest checkpoint that the ca cosigned, or was about to.
CREATE TABLE cosigned (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    root BLOB    NOT NULL CHECK (length(root) = 32)
) STRICT;

-- Every certificate issued: its chain as JSON, whether the kms has it, and what CRLs say of it. Never deleted.
CREATE TABLE certificate (
    kind       TEXT    NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    -- How many there were before it for the same.
    generation INTEGER NOT NULL,
    serial     BLOB    NOT NULL UNIQUE CHECK (length(serial) = 16),
    -- Milliseconds since the Unix epoch, as all instants.
    not_after  INTEGER NOT NULL,
    chain      TEXT    NOT NULL,
    sent       INTEGER NOT NULL DEFAULT 0,
    cause      TEXT,
    revoked_at INTEGER,
    PRIMARY KEY (kind, id, generation),
    CHECK ((cause IS NULL) = (revoked_at IS NULL))
) STRICT;

-- The newest CRL of each issuer. It is here before it leaves; its number only grows.
CREATE TABLE crl (
    issuer      TEXT    NOT NULL PRIMARY KEY,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    -- The digest of its entries.
    covers      BLOB    NOT NULL CHECK (length(covers) = 32),
    der         BLOB    NOT NULL
) STRICT;
