-- Limits of all kernels together, and who has their slots or waits for one.

ALTER TABLE @.store ADD COLUMN limits_set bigint NOT NULL DEFAULT 0;

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
