-- Kernels say which release they are, and may be asked to drain. Events have no foreign key to their run any more: it
-- looked up the run of each event, which took as long as all the rest. A trigger removes them with it instead.

ALTER TABLE @.kernels ADD COLUMN version text NOT NULL DEFAULT '', ADD COLUMN draining_at timestamptz;
ALTER TABLE @.events DROP CONSTRAINT IF EXISTS events_run_fkey;

CREATE OR REPLACE FUNCTION @.forget_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM @.events e USING gone WHERE e.run = gone.run;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS runs_go ON @.runs;
CREATE TRIGGER runs_go AFTER DELETE ON @.runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION @.forget_events();

ALTER TABLE @.runs SET (fillfactor = 50);
