-- What every sound store has none of. Each query gives (run id or NULL, what is wrong), and goes through indexes only.
-- `digest_of` is `blobs.digest_of` of bytes; JSON is looked into only where it is JSON, whatever order SQLite chooses.

-- A journal has the numbers 1 to n without a gap, and the summary says n.
SELECT run_id, 'its summary says ' || seq || ' events, its journal has ' || number || ', the last is number ' || last
FROM (
    SELECT
        run_id,
        seq,
        (
            SELECT count(*)
            FROM run_segments JOIN events USING (run, segment) WHERE run_segments.run = runs.run
        ) AS number,
        (
            SELECT coalesce(max(events.seq), 0)
            FROM run_segments JOIN events USING (run, segment) WHERE run_segments.run = runs.run
        ) AS last,
        (
            SELECT coalesce(min(events.seq), 1)
            FROM run_segments JOIN events USING (run, segment) WHERE run_segments.run = runs.run
        ) AS first
    FROM runs
    WHERE status <> 'removed'  -- what is left of one is on its way out
)
WHERE number <> seq OR last <> seq OR first <> 1;

-- A run goes from a segment to a later one, and where it begins there is noted.
SELECT run_id, 'segment ' || segment || ' of its journal is said to begin with event ' || noted || ', it begins with ' || first
FROM (
    SELECT
        run_id,
        segment,
        run_segments.seq AS noted,
        (
            SELECT coalesce(min(events.seq), 0)
            FROM events WHERE events.segment = run_segments.segment AND events.run = run_segments.run
        ) AS first,
        coalesce(lag(run_segments.seq) OVER (PARTITION BY run ORDER BY segment), 0) AS previous
    FROM run_segments JOIN runs USING (run)
    WHERE status <> 'removed'
)
WHERE noted <> first OR noted <= previous;

-- A run that was started from a text has it.
SELECT run_id, 'its definition ' || definition || ' is missing'
FROM runs
WHERE definition IS NOT NULL AND definition NOT IN (SELECT digest FROM definitions);

-- Labels are an object of strings.
SELECT run_id, 'its labels are not a JSON object'
FROM runs
WHERE CASE WHEN json_valid(labels) THEN json_type(labels) <> 'object' ELSE 1 END;

-- The index of labels has every label of every run, and no others.
SELECT run_id, 'its label ' || label.key || ' is not in the index of labels'
FROM runs, json_each(CASE WHEN json_valid(labels) THEN labels ELSE '{}' END) AS label
WHERE labels <> '{}' AND NOT EXISTS (
    SELECT 1 FROM labels AS entry
    WHERE entry.name = label.key AND entry.value = label.value AND entry.created_at = runs.created_at
        AND entry.run_id = runs.run_id AND entry.run = runs.run
);

SELECT runs.run_id, 'the index of labels has ' || entry.name || ' = ' || entry.value || ' for ' || entry.run_id || ', which it has not'
FROM labels AS entry LEFT JOIN runs ON runs.run = entry.run AND runs.run_id = entry.run_id
WHERE runs.run IS NULL OR NOT EXISTS (
    SELECT 1 FROM json_each(CASE WHEN json_valid(runs.labels) THEN runs.labels ELSE '{}' END) AS label
    WHERE label.key = entry.name AND label.value = entry.value
);

-- A large payload is there, is the text its name stands for, and is in use.
SELECT runs.run_id, 'the payload of its event ' || events.seq || ' is missing'
FROM events JOIN runs ON runs.run = events.run
WHERE events.blob IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blobs WHERE digest = events.blob);

SELECT
    (SELECT runs.run_id FROM events JOIN runs ON runs.run = events.run WHERE events.blob = digest LIMIT 1),
    'the payload ' || lower(hex(digest)) || ' is not the text it was'
FROM blobs
WHERE digest <> digest_of(CAST(text AS BLOB));

SELECT NULL, 'no event has the payload ' || lower(hex(digest))
FROM blobs
WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.blob = blobs.digest);

-- The counters never fall behind, or a number would be given out twice.
SELECT NULL, 'the counter of ' || name || ' is behind'
FROM sqlite_sequence
WHERE (name = 'events' AND seq < (SELECT max(pos) FROM events)) OR (name = 'inbox' AND seq < (SELECT max(id) FROM inbox));

-- One row says which store this is.
SELECT NULL, 'the row which tells it from every other store is missing'
WHERE NOT EXISTS (SELECT 1 FROM store);
