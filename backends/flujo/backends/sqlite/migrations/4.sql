-- Schema 3 to 4: the index of the journals goes by segments. The reasons are in `schema.sql`. Runs inside the transaction
-- of whoever migrates. The events keep their positions and their order; a segment is made of 4,096 positions.

CREATE TABLE run_segments (
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (run, segment)
) STRICT, WITHOUT ROWID;

INSERT INTO run_segments SELECT run, pos / 4096, min(seq) FROM events GROUP BY 1, 2;

DROP TRIGGER blobs_go_with_events;
DROP INDEX events_by_blob;
ALTER TABLE events RENAME TO events_before;

CREATE TABLE events (
    pos     INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    format  INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    payload TEXT,
    blob    BLOB,
    checksum INTEGER,
    UNIQUE (segment, run, seq),
    FOREIGN KEY (run, segment) REFERENCES run_segments ON DELETE CASCADE
) STRICT;

INSERT INTO events
    SELECT pos, run, pos / 4096, seq, at, type, format, body, payload, blob, checksum FROM events_before ORDER BY pos;

-- A number that was given out once is never given out again, even if its event is gone.
DELETE FROM sqlite_sequence WHERE name = 'events';
INSERT INTO sqlite_sequence SELECT 'events', seq FROM sqlite_sequence WHERE name = 'events_before';
DROP TABLE events_before;

CREATE INDEX events_by_blob ON events (blob) WHERE blob IS NOT NULL;

CREATE TRIGGER blobs_go_with_events AFTER DELETE ON events WHEN old.blob IS NOT NULL BEGIN
    DELETE FROM blobs WHERE digest = old.blob AND NOT EXISTS (SELECT 1 FROM events WHERE blob = old.blob);
END;
