-- What a store holds: schema 5. Instants are microseconds since 1970-01-01 UTC. `migrations/N.sql` makes a store of schema
-- N-1 one of schema N, and in the end the same as this one.
--
-- `checksum` is of all other values of a row that are ever read: `checksums` says how it is computed. No trigger or
-- constraint looks at it, because SQLite cannot compute it by itself.

-- One row: what tells this store from every other, and from what it was before a backup took its place. Cursors and page
-- tokens hold it.
CREATE TABLE store (
    identity TEXT NOT NULL
) STRICT;

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
    labels        TEXT    NOT NULL,  -- JSON object of strings; never changes
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
    checksum      INTEGER            -- of all that is above, without `run`
) STRICT;

-- Finding a run by id, and no two ids that differ in case only.
CREATE UNIQUE INDEX runs_by_id ON runs (run_id COLLATE NOCASE);

-- Listings go newest first by (created_at, run_id): one index per thing a page is chosen by, so that a page costs its
-- length and not the history. A step changes `seq`, `updated_at`, `current_step` and `steps_done` of a run that has an
-- owner, and no index has an entry to change for that.
CREATE INDEX runs_by_age ON runs (created_at, run_id);
CREATE INDEX runs_by_workflow ON runs (workflow, created_at, run_id);
CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

-- The last four columns are for statistics, which read this index from end to end and never the table.
CREATE INDEX runs_by_workflow_and_status ON runs
    (workflow, status, created_at, run_id, started_at, finished_at, failed_step, retries);

-- Partial: few runs have failed, and few were started by another one. The second also finds the family of a run that is
-- to be pruned.
CREATE INDEX runs_by_failed_step ON runs (failed_step, created_at, run_id) WHERE failed_step IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;

-- What a kernel gives up when it closes. Partial: finished runs have no owner, and they are nearly all. A listing by
-- update, and pruning, find here what the next two leave out.
CREATE INDEX runs_by_owner ON runs (owner) WHERE owner IS NOT NULL;

-- Listings by update, newest first. Partial: the runs somebody advances change with every step, and are few enough to be
-- sorted when they are asked for.
CREATE INDEX runs_by_update ON runs (updated_at, run_id) WHERE owner IS NULL;

-- Since when a run rests: the order in which they are pruned, and where runs that ended in a stretch of time are found.
-- Partial for the same reason.
CREATE INDEX runs_by_rest ON runs (coalesce(finished_at, updated_at), run_id) WHERE owner IS NULL;

-- Whose time has come. Partial: only runs that wait for an instant are in it.
CREATE INDEX runs_by_wake ON runs (owner, wake_at) WHERE wake_at IS NOT NULL;

-- The labels of all runs, in the order of their listings: an index of what `runs.labels` says, kept by the two triggers.
-- It is not a child table of `runs`, because finding the labels of a run that goes would take a second index as large.
CREATE TABLE labels (
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    run_id     TEXT    NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER labels_come_with_runs AFTER INSERT ON runs WHEN new.labels <> '{}' BEGIN
    INSERT INTO labels SELECT key, value, new.created_at, new.run_id, new.run FROM json_each(new.labels);
END;

CREATE TRIGGER labels_go_with_runs AFTER DELETE ON runs WHEN old.labels <> '{}' BEGIN
    DELETE FROM labels WHERE (name, value, created_at, run_id)
        IN (SELECT key, value, old.created_at, old.run_id FROM json_each(old.labels));
END;

-- In which segments of the journals a run has events. A run never goes back to an earlier segment, so its journal is
-- what it has in the first, then in the next, and so on.
CREATE TABLE run_segments (
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    seq     INTEGER NOT NULL,  -- of the first event of the run there
    PRIMARY KEY (run, segment)
) STRICT, WITHOUT ROWID;

-- The journals. An ordinary table, appended at its end, because one clustered by (run, seq) is twice as slow with
-- payloads of a kilobyte. `pos` is the position in the store as a whole; AUTOINCREMENT keeps it from going back after a
-- delete. UNIQUE is how the events of a run in one segment are read. The segment comes first, so that what many runs
-- append goes to a few pages of that index, next to each other, instead of a page for each run (ADR 0024).
CREATE TABLE events (
    pos     INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    format  INTEGER NOT NULL,
    body    TEXT    NOT NULL,  -- JSON object, small
    payload TEXT,              -- JSON value, the one large field of some types
    blob    BLOB,              -- where the payload is instead, when it is large: the digest of a blob
    checksum INTEGER,         -- of the uid of the run and what is above, without `pos` and `run`
    UNIQUE (segment, run, seq),
    FOREIGN KEY (run, segment) REFERENCES run_segments ON DELETE CASCADE
) STRICT;

-- Large payloads, each text once, under its digest. An ordinary table: texts in a clustered one would lie between the
-- digests that are searched.
CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,  -- BLAKE2b of the text in UTF-8, 32 bytes
    text   TEXT NOT NULL
) STRICT;

-- Whether a blob is still in use. Partial: nearly all payloads are small.
CREATE INDEX events_by_blob ON events (blob) WHERE blob IS NOT NULL;

-- A blob goes with the last event that uses it, whatever made that one go.
CREATE TRIGGER blobs_go_with_events AFTER DELETE ON events WHEN old.blob IS NOT NULL BEGIN
    DELETE FROM blobs WHERE digest = old.blob AND NOT EXISTS (SELECT 1 FROM events WHERE blob = old.blob);
END;

-- Requests to the owners of runs. AUTOINCREMENT: an id that was answered must never name another request, and the
-- counter in sqlite_sequence tells a waiting owner whether anything was posted at all.
CREATE TABLE inbox (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    kind TEXT    NOT NULL,
    body TEXT    NOT NULL,  -- JSON object
    at   INTEGER NOT NULL,
    checksum INTEGER        -- of all that is above, with the uid of the run
) STRICT;

-- For the cascade when a run is deleted.
CREATE INDEX inbox_by_run ON inbox (run);

-- The texts runs were started from, under their digests.
CREATE TABLE definitions (
    digest   TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    version  TEXT,
    text     TEXT NOT NULL,
    checksum INTEGER
) STRICT;
