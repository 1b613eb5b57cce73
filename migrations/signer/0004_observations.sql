-- What quorums of chain observers said of reserved transactions, verified and held against their lifetimes. The ledger's
-- `observed` entry names the statement; what it says is needed again when limits are counted anew.
CREATE TABLE observations (
    statement BLOB PRIMARY KEY CHECK (length(statement) = 32),
    envelope BLOB NOT NULL
) STRICT;

CREATE TRIGGER observations_are_not_updated BEFORE UPDATE ON observations
BEGIN SELECT RAISE(ABORT, 'an observation is final'); END;
CREATE TRIGGER observations_are_not_deleted BEFORE DELETE ON observations
BEGIN SELECT RAISE(ABORT, 'an observation is final'); END;
