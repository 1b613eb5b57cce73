-- Statements that travel between nodes by themselves (freezes, unfreezes, vetoes, acknowledgements, observations) and the
-- successor bundles that nodes acknowledge with their transcripts, in the order in which they came, as they were signed.
CREATE TABLE statements (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    kind TEXT NOT NULL,
    -- The bundle under which it was verified: a freeze outlives the membership of the officer who ordered it.
    bundle BLOB NOT NULL CHECK (length(bundle) = 32),
    -- The sequence number of the own ledger entry that records it; 0 for none.
    entry INTEGER NOT NULL,
    envelope BLOB NOT NULL
) STRICT;

CREATE TRIGGER statements_are_not_updated BEFORE UPDATE ON statements
BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;
CREATE TRIGGER statements_are_not_deleted BEFORE DELETE ON statements
BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;

-- The starts of this node, each before any peer heard of it.
CREATE TABLE starts (
    incarnation INTEGER PRIMARY KEY CHECK (incarnation > 0),
    nonce BLOB NOT NULL CHECK (length(nonce) = 32)
) STRICT;

CREATE TRIGGER starts_are_not_updated BEFORE UPDATE ON starts
BEGIN SELECT RAISE(ABORT, 'a start is not renamed'); END;
CREATE TRIGGER starts_are_not_deleted BEFORE DELETE ON starts
BEGIN SELECT RAISE(ABORT, 'a start is not forgotten'); END;

-- The newest start of each peer that this node acknowledged.
CREATE TABLE peer_starts (
    member TEXT PRIMARY KEY,
    incarnation INTEGER NOT NULL CHECK (incarnation > 0),
    nonce BLOB NOT NULL CHECK (length(nonce) = 32)
) STRICT;

CREATE TRIGGER peer_starts_only_rise BEFORE UPDATE ON peer_starts WHEN NEW.incarnation <= OLD.incarnation
BEGIN SELECT RAISE(ABORT, 'incarnations only rise'); END;
CREATE TRIGGER peer_starts_are_not_deleted BEFORE DELETE ON peer_starts
BEGIN SELECT RAISE(ABORT, 'a start is not forgotten'); END;

-- A time that this node's clock has shown while it agreed with its peers: a clock below it went back.
CREATE TABLE time_floor (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER the_time_floor_only_rises BEFORE UPDATE ON time_floor WHEN NEW.at < OLD.at
BEGIN SELECT RAISE(ABORT, 'time does not go back'); END;

-- The signature counters of WebAuthn credentials, each with the statement that showed it: one that goes back is a copy of the
-- authenticator.
CREATE TABLE webauthn_counters (
    credential BLOB NOT NULL,
    counter INTEGER NOT NULL,
    statement BLOB NOT NULL CHECK (length(statement) = 32),
    PRIMARY KEY (credential, counter)
) STRICT;

CREATE TRIGGER webauthn_counters_are_not_updated BEFORE UPDATE ON webauthn_counters
BEGIN SELECT RAISE(ABORT, 'counters are append-only'); END;
CREATE TRIGGER webauthn_counters_are_not_deleted BEFORE DELETE ON webauthn_counters
BEGIN SELECT RAISE(ABORT, 'counters are append-only'); END;
