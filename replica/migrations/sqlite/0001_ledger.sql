-- The ledger as it was received: each leaf in the exact bytes that the tree hashes.
CREATE TABLE ledger_leaf (
    idx   INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0),
    bytes BLOB    NOT NULL
) STRICT;
