-- How many leaves the ledger has. Whoever appends or stamps holds this row until he has: one at a time, whatever process he is in.
CREATE TABLE ledger_head (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL CHECK (size >= 0)
) STRICT;
INSERT INTO ledger_head (one, size) SELECT 1, COUNT(*) FROM ledger_leaf;
