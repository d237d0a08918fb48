-- Schema 2 to 3: a checksum in every row. Runs inside the transaction of whoever migrates, whose connection knows
-- the functions of `checksums.register`. What had changed in a row before is taken for what was written.

ALTER TABLE runs ADD COLUMN checksum INTEGER;
ALTER TABLE events ADD COLUMN checksum INTEGER;
ALTER TABLE inbox ADD COLUMN checksum INTEGER;
ALTER TABLE definitions ADD COLUMN checksum INTEGER;

UPDATE runs SET checksum = checksum_of_summary(
    run_id, uid, workflow, version, status, seq, owner, token, labels, created_at, started_at, updated_at, finished_at,
    wake_at, current_step, failed_step, error_type, error_message, steps_done, steps_total, retries, resume_count,
    parent_run_id, definition
);

UPDATE events SET checksum = checksum_of_event(
    (SELECT uid FROM runs WHERE runs.run = events.run), seq, at, type, format, body, payload, blob
);

UPDATE inbox SET checksum = checksum_of(id, (SELECT uid FROM runs WHERE runs.run = inbox.run), kind, body, at);

UPDATE definitions SET checksum = checksum_of(digest, workflow, version, text);
