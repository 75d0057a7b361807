-- How many leaves the ledger has. Whoever appends or stamps holds this row until he has: one at a time, whatever process he is in.
CREATE TABLE ledger_head (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    size BIGINT NOT NULL CHECK (size >= 0)
);
INSERT INTO ledger_head (one, size) SELECT 1, COUNT(*) FROM ledger_leaf;
