-- The last stamp that counted: no leaf beyond so many is older than its time (protocol P-5.4), restarts included.
CREATE TABLE ledger_stamp (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;
