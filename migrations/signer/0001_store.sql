-- The signer's one file. Append-only: later changes come as new files.
-- Sealed columns hold AES-256-GCM ciphertexts bound to table, column, row, key, generation and node.

CREATE TABLE header (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    node TEXT NOT NULL,
    genesis BLOB NOT NULL CHECK (length(genesis) = 32),
    store_id BLOB NOT NULL CHECK (length(store_id) = 16),
    kek TEXT NOT NULL,
    wrapped_dek BLOB NOT NULL
) STRICT;

-- Set once somebody shows an entry signed by this node that this file does not have: an old copy is in use.
CREATE TABLE rolled_back (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ours INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    evidence BLOB NOT NULL
) STRICT;

-- Whose ledger entries are here. Author 0 is this node.
CREATE TABLE authors (
    id INTEGER PRIMARY KEY,
    member TEXT NOT NULL UNIQUE,
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The envelopes of ledger entries as they were signed. One integer key, author and sequence, so that two entries share a
-- page: a key of two columns would need an index beside the table, or a table that gives each entry a page of its own.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY CHECK (id > 0 AND (id & 1099511627775) > 0),
    author INTEGER GENERATED ALWAYS AS (id >> 40) VIRTUAL,
    sequence INTEGER GENERATED ALWAYS AS (id & 1099511627775) VIRTUAL,
    envelope BLOB NOT NULL
) STRICT;

CREATE TRIGGER ledger_is_not_updated BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_not_deleted BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- Peers that signed two histories: the entry presented that does not fit the one in the ledger under the sequence number.
CREATE TABLE equivocations (
    author INTEGER PRIMARY KEY REFERENCES authors (id),
    sequence INTEGER NOT NULL,
    presented BLOB NOT NULL
) STRICT;

CREATE TABLE shares (
    key TEXT NOT NULL,
    generation INTEGER NOT NULL,
    record TEXT NOT NULL,
    tag BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (key, generation)
) STRICT;

CREATE TRIGGER shares_are_not_updated BEFORE UPDATE ON shares
BEGIN SELECT RAISE(ABORT, 'a share is never overwritten'); END;

CREATE TABLE secrets (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    tag BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

CREATE TABLE ceremonies (
    ceremony BLOB PRIMARY KEY CHECK (length(ceremony) = 32),
    progress TEXT NOT NULL
) STRICT;

CREATE TABLE key_bans (
    key TEXT NOT NULL,
    peer TEXT NOT NULL,
    at INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (key, peer)
) STRICT;

CREATE TRIGGER key_bans_are_not_updated BEFORE UPDATE ON key_bans
BEGIN SELECT RAISE(ABORT, 'a ban is for ever'); END;
CREATE TRIGGER key_bans_are_not_deleted BEFORE DELETE ON key_bans
BEGIN SELECT RAISE(ABORT, 'a ban is for ever'); END;

CREATE TABLE bundles (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    envelope BLOB NOT NULL
) STRICT;

CREATE TRIGGER bundles_are_not_updated BEFORE UPDATE ON bundles
BEGIN SELECT RAISE(ABORT, 'one successor per bundle'); END;
CREATE TRIGGER bundles_are_not_deleted BEFORE DELETE ON bundles
BEGIN SELECT RAISE(ABORT, 'the chain of bundles is append-only'); END;

CREATE TABLE records (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    operation TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
