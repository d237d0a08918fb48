-- What a store holds: schema 4 of one schema of a database, here called @. Instants of runs and events are microseconds
-- since 1970-01-01 UTC, as their kernels say; those of kernels are the server's own.
--
-- `checksum` is of all other values of a row that are ever read, but for owner and token, which SQL changes.
-- Texts that may hold U+0000, which no text of PostgreSQL can, are their UTF-8.

CREATE TABLE @.store (
    schema          int         NOT NULL,  -- of these tables
    lease           interval    NOT NULL,  -- how long a kernel is alive after its last heartbeat
    beat_at         timestamptz NOT NULL,  -- when any kernel last reached the store
    available_since timestamptz NOT NULL,  -- since when some kernel did, without a gap of half a lease
    position_base   bigint      NOT NULL,  -- added to a transaction's part of a position (journal.py)
    last_position   bigint      NOT NULL DEFAULT 0,  -- of the last event that was removed
    identity        text        NOT NULL DEFAULT gen_random_uuid()::text,  -- a part of it (queries.py)
    limits_set      bigint      NOT NULL DEFAULT 0  -- how often a limit of all kernels was set or removed
) WITH (fillfactor = 50);

CREATE TABLE @.kernels (
    kernel      text COLLATE "C" PRIMARY KEY,
    incarnation bigint      NOT NULL,
    host        text        NOT NULL,  -- tells processes of one host whether they may look at its lock file
    host_name   text        NOT NULL,
    pid         int         NOT NULL,
    version     text        NOT NULL,  -- of flujo
    opened_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,  -- unless there is another heartbeat
    dead_at     timestamptz,           -- somebody may have taken its runs; no heartbeat revives it
    closed_at   timestamptz,
    draining_at timestamptz            -- since when it is to take no runs, and to hand over those that wait
) WITH (fillfactor = 50);

-- One row per run: its summary, equal to what its journal adds up to. `run` is the short key the other tables use.
CREATE TABLE @.runs (
    run           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        text COLLATE "C" NOT NULL,  -- compared and sorted as Python does
    uid           text COLLATE "C" NOT NULL UNIQUE,
    workflow      text COLLATE "C" NOT NULL,
    version       bytea,
    status        text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,  -- of the last event
    owner         text COLLATE "C",
    token         bigint NOT NULL,
    labels        text   NOT NULL,
    created_at    bigint NOT NULL,
    started_at    bigint,
    updated_at    bigint NOT NULL,
    finished_at   bigint,
    wake_at       bigint,
    current_step  text,
    failed_step   text COLLATE "C",
    error_type    bytea,
    error_message bytea,
    steps_done    bigint NOT NULL,
    steps_total   bigint,
    retries       bigint NOT NULL,
    resume_count  bigint NOT NULL,
    parent_run_id text COLLATE "C",
    definition    text COLLATE "C",
    fixed_checksum bigint NOT NULL,  -- of what only the creation sets; the next one is of all else
    checksum      bigint NOT NULL,
    moved_at      bigint,  -- updated_at, but of a run that an owner advances: that changes with every step
    rest_at       bigint,  -- finished_at or else updated_at, of a run without an owner: since when it rests
    CHECK ((owner IS NULL OR status <> 'running') = (moved_at IS NOT NULL)),
    CHECK ((owner IS NULL) = (rest_at IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);  -- a new version of each row fits into its page

-- A step changes seq, updated_at, current_step, steps_done and checksum. No index, and no predicate of one, may name
-- these: the update would have to write to every index of the row (tests/backends/test_postgres.py counts).
CREATE UNIQUE INDEX runs_by_id ON @.runs (lower(run_id));
CREATE INDEX runs_by_exact_id ON @.runs (run_id);
CREATE INDEX runs_by_age ON @.runs (created_at, run_id);
CREATE INDEX runs_by_workflow ON @.runs (workflow, created_at, run_id);
CREATE INDEX runs_by_status ON @.runs (status, created_at, run_id);
CREATE INDEX runs_by_workflow_and_status ON @.runs (workflow, status, created_at, run_id);
CREATE INDEX runs_by_failed_step ON @.runs (failed_step, created_at, run_id) WHERE failed_step IS NOT NULL;
CREATE INDEX runs_by_parent ON @.runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_by_owner ON @.runs (owner) WHERE owner IS NOT NULL;
CREATE INDEX runs_without_owner ON @.runs (created_at, run_id)
    WHERE owner IS NULL AND status IN ('pending', 'running', 'waiting');
CREATE INDEX runs_by_update ON @.runs (moved_at, run_id) WHERE moved_at IS NOT NULL;
CREATE INDEX runs_at_work ON @.runs (owner) WHERE moved_at IS NULL;
CREATE INDEX runs_by_rest ON @.runs (rest_at, run_id) WHERE rest_at IS NOT NULL;
CREATE INDEX runs_by_wake ON @.runs (owner, wake_at) WHERE wake_at IS NOT NULL;

-- The labels of all runs, in the order of their listings: an index of what `runs.labels` says.
CREATE TABLE @.labels (
    name       text COLLATE "C" NOT NULL,
    value      bytea  NOT NULL,
    created_at bigint NOT NULL,
    run_id     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL REFERENCES @.runs ON DELETE CASCADE,
    PRIMARY KEY (name, value, created_at, run_id)
);
CREATE INDEX labels_by_run ON @.labels (run);

-- Large payloads, each text once, under its digest.
CREATE TABLE @.blobs (
    digest bytea PRIMARY KEY,  -- BLAKE2b of the text in UTF-8, 32 bytes
    text   text NOT NULL
);

CREATE TABLE @.events (
    run      bigint NOT NULL,  -- no foreign key: it would look up the run of each event, which takes as long as the rest
    seq      bigint NOT NULL,
    pos      bigint NOT NULL,  -- its place among the events of all runs
    at       bigint NOT NULL,
    type     text   NOT NULL,
    format   int    NOT NULL,
    body     text   NOT NULL,
    payload  text,
    blob     bytea REFERENCES @.blobs,  -- where the payload is instead, when it is large
    checksum bigint NOT NULL,
    PRIMARY KEY (run, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
CREATE UNIQUE INDEX events_by_position ON @.events (pos);
CREATE INDEX events_by_blob ON @.events (blob) WHERE blob IS NOT NULL;

-- A server may have been built without lz4.
DO $$ BEGIN
    ALTER TABLE @.events ALTER COLUMN payload SET COMPRESSION lz4;
    ALTER TABLE @.blobs ALTER COLUMN text SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- A blob goes with the last event that uses it. It is locked before it is asked whether there is one: whoever inserts an
-- event holds its blob by the foreign key, and is seen once he is done. When the last events of all go, it is kept which
-- position they had.
CREATE FUNCTION @.forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT max(pos) FROM gone) > coalesce((SELECT max(pos) FROM @.events), 0) THEN
        UPDATE @.store SET last_position = greatest(last_position, (SELECT max(pos) FROM gone));
    END IF;
    IF EXISTS (SELECT FROM gone WHERE blob IS NOT NULL) THEN
        PERFORM FROM @.blobs WHERE digest IN (SELECT blob FROM gone WHERE blob IS NOT NULL) ORDER BY digest FOR UPDATE;
        DELETE FROM @.blobs b WHERE digest IN (SELECT blob FROM gone WHERE blob IS NOT NULL)
            AND NOT EXISTS (SELECT FROM @.events e WHERE e.blob = b.digest);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_go AFTER DELETE ON @.events REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION @.forget();

-- Whoever inserts events has changed the row of their run in the same statement, so its removal waits for him, and sees
-- them.
CREATE FUNCTION @.forget_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM @.events e USING gone WHERE e.run = gone.run;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_go AFTER DELETE ON @.runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION @.forget_events();

CREATE TABLE @.inbox (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run      bigint NOT NULL REFERENCES @.runs ON DELETE CASCADE,
    kind     text   NOT NULL,
    body     text   NOT NULL,
    at       bigint NOT NULL,
    checksum bigint NOT NULL  -- of all that is above but the id, with the uid of the run
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE INDEX inbox_by_run ON @.inbox (run);

CREATE TABLE @.definitions (
    digest   text COLLATE "C" PRIMARY KEY,
    workflow text NOT NULL,
    version  bytea,
    text     bytea NOT NULL,
    checksum bigint NOT NULL
);

-- Limits of all kernels together. Whoever grants or frees a slot of one has locked its row before. One without slots was
-- removed, and stays while somebody has a slot of it.
CREATE TABLE @.limits (
    name  text COLLATE "C" PRIMARY KEY,
    slots int
);

-- Who has a slot of a limit, or waits for one.
CREATE TABLE @.slots (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of asking
    name       text COLLATE "C" NOT NULL,
    kernel     text COLLATE "C" NOT NULL,
    number     bigint      NOT NULL,  -- tells the requests of a kernel apart
    run_id     text        NOT NULL,
    uid        text        NOT NULL,
    step       text        NOT NULL,
    asked_at   timestamptz NOT NULL,
    granted_at timestamptz,
    UNIQUE (kernel, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE INDEX slots_held ON @.slots (name) WHERE granted_at IS NOT NULL;
CREATE INDEX slots_in_line ON @.slots (name, id) WHERE granted_at IS NULL;
CREATE INDEX slots_of_kernel ON @.slots (kernel) WHERE granted_at IS NOT NULL;

-- Give what is free of these limits to the first in line; return the kernels that got something. Each statement of a
-- function sees what was committed before it, so what stands behind a lock is looked at after that was had.
CREATE FUNCTION @.grant_slots(which text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM @.slots s WHERE s.name = ANY(which) AND NOT EXISTS (
        SELECT FROM @.kernels k WHERE k.kernel = s.kernel AND k.dead_at IS NULL AND k.closed_at IS NULL);
    RETURN QUERY UPDATE @.slots s SET granted_at = clock_timestamp() FROM (
        SELECT w.id FROM @.limits l CROSS JOIN LATERAL (
            SELECT q.id FROM @.slots q WHERE q.name = l.name AND q.granted_at IS NULL ORDER BY q.id
            LIMIT CASE WHEN l.slots IS NOT NULL THEN greatest(0, l.slots - (
                SELECT count(*) FROM @.slots h WHERE h.name = l.name AND h.granted_at IS NOT NULL)) END) AS w
        WHERE l.name = ANY(which)) AS free
    WHERE s.id = free.id RETURNING s.kernel;
END $$;

-- What StateBackend.exchange_slots does. Of each row that it returns `kind` says what it is: a `limit` with its slots, a
-- number that `has` a slot or needs none, a kernel to `tell`, or how often limits were `set`.
CREATE FUNCTION @.exchange_slots(
    me text, gone bigint[], numbers bigint[], names text[], run_ids text[], uids text[], steps text[]
) RETURNS TABLE (kind text, name text, number bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    which text[] := ARRAY(
        SELECT unnest(names)
        UNION SELECT s.name FROM @.slots s WHERE s.kernel = me AND s.number = ANY(gone)
        UNION SELECT s.name FROM @.kernels k JOIN @.slots s ON s.kernel = k.kernel
            WHERE k.dead_at IS NOT NULL OR k.closed_at IS NOT NULL);
BEGIN
    IF which <> '{}' THEN
        PERFORM FROM @.limits l WHERE l.name = ANY(which) ORDER BY l.name FOR UPDATE;
        DELETE FROM @.slots s WHERE s.kernel = me AND s.number = ANY(gone);
        INSERT INTO @.slots (name, kernel, number, run_id, uid, step, asked_at)
            SELECT a.name, me, a.number, a.run_id, a.uid, a.step, clock_timestamp()
            FROM unnest(numbers, names, run_ids, uids, steps) WITH ORDINALITY AS a(number, name, run_id, uid, step, place)
            JOIN @.limits l ON l.name = a.name AND l.slots IS NOT NULL ORDER BY a.place
            ON CONFLICT DO NOTHING;
        RETURN QUERY SELECT DISTINCT 'tell', g, NULL::bigint FROM @.grant_slots(which) AS g WHERE g <> me;
    END IF;
    RETURN QUERY SELECT 'has', NULL, a FROM unnest(numbers) AS a
        WHERE NOT EXISTS (SELECT FROM @.slots s WHERE s.kernel = me AND s.number = a);
    RETURN QUERY SELECT 'has', NULL, s.number FROM @.slots s WHERE s.kernel = me AND s.granted_at IS NOT NULL;
    RETURN QUERY SELECT 'set', NULL, s.limits_set FROM @.store s;
    RETURN QUERY SELECT 'limit', l.name, l.slots::bigint FROM @.limits l WHERE l.slots IS NOT NULL;
END $$;

-- Give a limit so many slots, or with NULL as many as are asked for; return how many it had.
CREATE FUNCTION @.set_limit(which text, number int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE before int;
BEGIN
    INSERT INTO @.limits VALUES (which, NULL) ON CONFLICT DO NOTHING;
    SELECT l.slots INTO before FROM @.limits l WHERE l.name = which FOR UPDATE;
    UPDATE @.limits l SET slots = number WHERE l.name = which;
    PERFORM @.grant_slots(ARRAY[which]);
    DELETE FROM @.limits l WHERE l.slots IS NULL AND NOT EXISTS (SELECT FROM @.slots s WHERE s.name = l.name);
    UPDATE @.store SET limits_set = limits_set + 1;
    RETURN before;
END $$;
