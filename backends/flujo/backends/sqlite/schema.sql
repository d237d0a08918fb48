-- What a store holds: schema 1. Instants are microseconds since 1970-01-01 UTC.

-- One row per run: its summary, equal to what its journal adds up to. `run` is the short key the other tables use.
CREATE TABLE runs (
    run           INTEGER PRIMARY KEY,
    run_id        TEXT    NOT NULL,
    uid           TEXT    NOT NULL UNIQUE,
    workflow      TEXT    NOT NULL,
    version       TEXT,
    status        TEXT    NOT NULL,
    seq           INTEGER NOT NULL,  -- of the last event
    owner         TEXT,              -- the kernel that advances it; alive while it holds OWNER.lock
    token         INTEGER NOT NULL,  -- grows with every change of owner; every commit names it
    labels        TEXT    NOT NULL,  -- JSON object of strings
    created_at    INTEGER NOT NULL,
    started_at    INTEGER,
    updated_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    wake_at       INTEGER,
    current_step  TEXT,
    failed_step   TEXT,
    error_type    TEXT,
    error_message TEXT,
    steps_done    INTEGER NOT NULL,
    steps_total   INTEGER,
    retries       INTEGER NOT NULL,
    resume_count  INTEGER NOT NULL,
    parent_run_id TEXT,
    definition    TEXT
) STRICT;

-- Finding a run by id, and no two ids that differ in case only.
CREATE UNIQUE INDEX runs_by_id ON runs (run_id COLLATE NOCASE);

-- Listings go newest first by (created_at, run_id), pruning oldest first: one index per order that a page is read in, so
-- that a page costs its length and not the history. None holds a column that changes with every step (`updated_at`,
-- `seq`), and a commit that leaves status and owner alone does not touch the last two at all.
CREATE INDEX runs_by_age ON runs (created_at, run_id);
CREATE INDEX runs_by_workflow ON runs (workflow, created_at, run_id);
CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

-- What a kernel gives up when it closes. Partial: finished runs have no owner, and they are nearly all.
CREATE INDEX runs_by_owner ON runs (owner) WHERE owner IS NOT NULL;

-- Whose time has come. Partial: only runs that wait for an instant are in it.
CREATE INDEX runs_by_wake ON runs (owner, wake_at) WHERE wake_at IS NOT NULL;

-- The journals. An ordinary table, appended at its end, because one clustered by (run, seq) is twice as slow with
-- payloads of a kilobyte. `pos` is the position in the store as a whole; AUTOINCREMENT keeps it from going back after a
-- delete. UNIQUE is how a journal is read, and makes a second event of the same number impossible.
CREATE TABLE events (
    pos     INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    format  INTEGER NOT NULL,
    body    TEXT    NOT NULL,  -- JSON object, small
    payload TEXT,              -- JSON value, the one large field of some types
    UNIQUE (run, seq)
) STRICT;

-- Requests to the owners of runs. AUTOINCREMENT: an id that was answered must never name another request, and the
-- counter in sqlite_sequence tells a waiting owner whether anything was posted at all.
CREATE TABLE inbox (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    kind TEXT    NOT NULL,
    body TEXT    NOT NULL,  -- JSON object
    at   INTEGER NOT NULL
) STRICT;

-- For the cascade when a run is deleted.
CREATE INDEX inbox_by_run ON inbox (run);

-- The texts runs were started from, under their digests.
CREATE TABLE definitions (
    digest   TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    version  TEXT,
    text     TEXT NOT NULL
) STRICT;
