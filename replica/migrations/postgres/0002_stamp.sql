-- Stamps that counted, by the leaves that each speaks of: the last one, those ahead of the ledger, and of the others the largest. No
-- leaf beyond so many is older than that time (protocol P-5.4), restarts included.
CREATE TABLE ledger_stamp (
    size BIGINT PRIMARY KEY CHECK (size >= 0),
    time_ms BIGINT NOT NULL
);
