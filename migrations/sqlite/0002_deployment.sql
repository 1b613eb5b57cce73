-- Policy bundles, ceremonies, and the records of operations that belong to no request.

CREATE TABLE bundles (
    digest       TEXT PRIMARY KEY,
    version      BIGINT NOT NULL,
    envelope     TEXT NOT NULL,
    transcripts  TEXT NOT NULL,     -- a JSON array of the transcripts that came with it
    received_at  BIGINT NOT NULL,
    activated_at BIGINT
);
CREATE UNIQUE INDEX bundles_one_active_per_version ON bundles (version) WHERE activated_at IS NOT NULL;

CREATE TABLE ceremonies (
    digest         TEXT PRIMARY KEY,
    key_id         TEXT NOT NULL,
    order_envelope TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE audit_records (
    id        TEXT PRIMARY KEY,     -- 32 random hex digits
    at        BIGINT NOT NULL,
    operation TEXT NOT NULL,
    subject   TEXT NOT NULL,
    member    TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    detail    TEXT NOT NULL
);
CREATE INDEX audit_records_by_time ON audit_records (at);
CREATE TRIGGER audit_records_no_update BEFORE UPDATE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'audit_records is append-only'); END;
CREATE TRIGGER audit_records_no_delete BEFORE DELETE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'audit_records is append-only'); END;
