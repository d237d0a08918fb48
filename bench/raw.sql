-- The tables that `raw.py` writes, as the store of schema 3 had them. Frozen with it: a yardstick does not grow.
CREATE TABLE runs (
    run           INTEGER PRIMARY KEY,
    run_id        TEXT    NOT NULL,
    uid           TEXT    NOT NULL UNIQUE,
    workflow      TEXT    NOT NULL,
    version       TEXT,
    status        TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    owner         TEXT,
    token         INTEGER NOT NULL,
    labels        TEXT    NOT NULL,
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
    definition    TEXT,
    checksum      INTEGER
) STRICT;

CREATE UNIQUE INDEX runs_by_id ON runs (run_id COLLATE NOCASE);

CREATE INDEX runs_by_age ON runs (created_at, run_id);

CREATE INDEX runs_by_workflow ON runs (workflow, created_at, run_id);

CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

CREATE INDEX runs_by_workflow_and_status ON runs
    (workflow, status, created_at, run_id, started_at, finished_at, failed_step, retries);

CREATE INDEX runs_by_failed_step ON runs (failed_step, created_at, run_id) WHERE failed_step IS NOT NULL;

CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;

CREATE INDEX runs_by_owner ON runs (owner) WHERE owner IS NOT NULL;

CREATE INDEX runs_by_update ON runs (updated_at, run_id) WHERE owner IS NULL;

CREATE INDEX runs_by_rest ON runs (coalesce(finished_at, updated_at), run_id) WHERE owner IS NULL;

CREATE INDEX runs_by_wake ON runs (owner, wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE events (
    pos     INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    format  INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    payload TEXT,
    blob    BLOB,
    checksum INTEGER,
    UNIQUE (run, seq)
) STRICT;

CREATE INDEX events_by_blob ON events (blob) WHERE blob IS NOT NULL;
