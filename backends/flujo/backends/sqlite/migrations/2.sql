-- Schema 1 to 2: an index for every filter, labels, the order of pruning, and large payloads stored once. The reasons are
-- in `schema.sql`. Runs inside the transaction of whoever migrates. Payloads that are there stay where they are.

CREATE INDEX runs_by_workflow_and_status ON runs
    (workflow, status, created_at, run_id, started_at, finished_at, failed_step, retries);
CREATE INDEX runs_by_failed_step ON runs (failed_step, created_at, run_id) WHERE failed_step IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_by_update ON runs (updated_at, run_id) WHERE owner IS NULL;
CREATE INDEX runs_by_rest ON runs (coalesce(finished_at, updated_at), run_id) WHERE owner IS NULL;

CREATE TABLE labels (
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    run_id     TEXT    NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) STRICT, WITHOUT ROWID;

INSERT INTO labels
    SELECT key, value, created_at, run_id, run FROM runs, json_each(runs.labels) WHERE labels <> '{}' ORDER BY 1, 2, 3, 4;

CREATE TRIGGER labels_come_with_runs AFTER INSERT ON runs WHEN new.labels <> '{}' BEGIN
    INSERT INTO labels SELECT key, value, new.created_at, new.run_id, new.run FROM json_each(new.labels);
END;

CREATE TRIGGER labels_go_with_runs AFTER DELETE ON runs WHEN old.labels <> '{}' BEGIN
    DELETE FROM labels WHERE (name, value, created_at, run_id)
        IN (SELECT key, value, old.created_at, old.run_id FROM json_each(old.labels));
END;

ALTER TABLE events ADD COLUMN blob BLOB;

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    text   TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_blob ON events (blob) WHERE blob IS NOT NULL;

CREATE TRIGGER blobs_go_with_events AFTER DELETE ON events WHEN old.blob IS NOT NULL BEGIN
    DELETE FROM blobs WHERE digest = old.blob AND NOT EXISTS (SELECT 1 FROM events WHERE blob = old.blob);
END;
