-- What members say beside requests: approvals, freezes, observations, proposals of policy. Statements are kept as they
-- were signed, and nothing of it is ever changed or taken away.

CREATE TABLE approvals (
    request_id TEXT NOT NULL REFERENCES requests (id),
    digest     TEXT NOT NULL,       -- of the approval statement
    member     TEXT NOT NULL,
    verdict    TEXT NOT NULL,       -- approve or reject
    bundle     TEXT NOT NULL,       -- the bundle it was given under
    envelope   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (request_id, digest)
);
CREATE INDEX approvals_by_member ON approvals (request_id, member);
CREATE TRIGGER approvals_no_update BEFORE UPDATE ON approvals
    BEGIN SELECT RAISE(ABORT, 'approvals is append-only'); END;
CREATE TRIGGER approvals_no_delete BEFORE DELETE ON approvals
    BEGIN SELECT RAISE(ABORT, 'approvals is append-only'); END;

-- Statements that every node has to know: freezes, unfreezes, observations, vetoes.
CREATE TABLE notices (
    digest     TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,       -- freeze, unfreeze, observation, veto
    subject    TEXT NOT NULL,       -- what it is about, for lists: a bundle's digest, a signing digest
    member     TEXT NOT NULL,       -- the issuer
    envelope   TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX notices_by_kind ON notices (kind, created_at);
CREATE TRIGGER notices_no_update BEFORE UPDATE ON notices
    BEGIN SELECT RAISE(ABORT, 'notices is append-only'); END;
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices
    BEGIN SELECT RAISE(ABORT, 'notices is append-only'); END;

-- Which nodes have them, and which have still to be given them.
CREATE TABLE deliveries (
    digest       TEXT NOT NULL REFERENCES notices (digest),
    node         TEXT NOT NULL,
    delivered_at BIGINT,            -- none until the node acknowledged it
    PRIMARY KEY (digest, node)
);
CREATE INDEX deliveries_due ON deliveries (node) WHERE delivered_at IS NULL;

-- Proposed bundles whose quorum has not signed yet, and those whose has.
CREATE TABLE proposals (
    digest      TEXT PRIMARY KEY,
    version     BIGINT NOT NULL,
    predecessor TEXT NOT NULL,
    author      TEXT NOT NULL,
    envelope    TEXT NOT NULL,      -- as proposed
    transcripts TEXT NOT NULL,      -- a JSON array
    created_at  BIGINT NOT NULL
);
CREATE INDEX proposals_by_version ON proposals (version, created_at);
CREATE TRIGGER proposals_no_update BEFORE UPDATE ON proposals
    BEGIN SELECT RAISE(ABORT, 'proposals is append-only'); END;
CREATE TRIGGER proposals_no_delete BEFORE DELETE ON proposals
    BEGIN SELECT RAISE(ABORT, 'proposals is append-only'); END;

CREATE TABLE proposal_signatures (
    digest     TEXT NOT NULL REFERENCES proposals (digest),
    member     TEXT NOT NULL,
    envelope   TEXT NOT NULL,       -- the proposal with this member's signature alone
    created_at BIGINT NOT NULL,
    PRIMARY KEY (digest, member)
);

-- The nodes' own statements that they stand behind a successor.
CREATE TABLE bundle_acks (
    digest     TEXT NOT NULL,       -- of the bundle
    statement  TEXT NOT NULL,       -- digest of the acknowledgement
    node       TEXT NOT NULL,
    envelope   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (digest, statement)
);
