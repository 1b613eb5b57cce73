-- Sign requests and everything that belongs to one. Times are milliseconds since 1970 (UTC); digests are 64 hex digits;
-- statements are DSSE envelopes as JSON, exactly as they were signed.

CREATE TABLE requests (
    id          TEXT PRIMARY KEY,   -- digest of the sign-request statement
    initiator   TEXT NOT NULL,
    external_id TEXT NOT NULL,
    wallet      TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    network     TEXT NOT NULL,
    envelope    TEXT NOT NULL,
    facts       TEXT NOT NULL,      -- what was decoded and decided, as JSON
    state       TEXT NOT NULL,      -- name of the state, for filters
    state_data  TEXT NOT NULL,      -- the state with its data, as JSON
    attempt     BIGINT NOT NULL,    -- the newest authorization's attempt; 0 when none was ever made
    revision    BIGINT NOT NULL,    -- counts the changes of state
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    claimed_by  TEXT,               -- the coordinator process that works on it
    lease_until BIGINT NOT NULL,    -- by the database's clock
    UNIQUE (initiator, external_id)
);
CREATE INDEX requests_by_time ON requests (created_at, id);
CREATE INDEX requests_unfinished ON requests (lease_until)
    WHERE state IN ('RECEIVED', 'PENDING_APPROVAL', 'AUTHORIZED', 'SIGNING', 'STOPPING');

CREATE TABLE idempotency_keys (
    initiator     TEXT NOT NULL,
    key           TEXT NOT NULL,
    request_id    TEXT NOT NULL REFERENCES requests (id),
    created_at    BIGINT NOT NULL,
    answer_due    BIGINT NOT NULL,  -- until then the first call is being answered
    answer_status BIGINT,           -- the answer that was given before the request was final
    answer_body   TEXT,
    PRIMARY KEY (initiator, key)
);

CREATE TABLE attempts (
    request_id    TEXT NOT NULL REFERENCES requests (id),
    attempt       BIGINT NOT NULL,
    authorization_envelope TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    receipts      TEXT,             -- the receipts that were handed to the participants, as a JSON array
    outcome       TEXT,             -- signed, or why it was given up
    PRIMARY KEY (request_id, attempt)
);

CREATE TABLE request_events (
    request_id TEXT NOT NULL REFERENCES requests (id),
    sequence   BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    state      TEXT NOT NULL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (request_id, sequence)
);
CREATE TRIGGER request_events_no_update BEFORE UPDATE ON request_events
    BEGIN SELECT RAISE(ABORT, 'request_events is append-only'); END;
CREATE TRIGGER request_events_no_delete BEFORE DELETE ON request_events
    BEGIN SELECT RAISE(ABORT, 'request_events is append-only'); END;

CREATE TABLE cancels (
    request_id TEXT NOT NULL REFERENCES requests (id),
    digest     TEXT NOT NULL,
    envelope   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (request_id, digest)
);

CREATE TABLE stop_acks (
    request_id TEXT NOT NULL REFERENCES requests (id),
    node       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    envelope   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (request_id, node)
);
