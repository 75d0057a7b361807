-- The kms has shown two ledgers, which differ at so many leaves or before: nothing is followed any more, restarts included.
CREATE TABLE ledger_fork (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL
) STRICT;
