-- A store has an identity, which cursors and page tokens hold.

ALTER TABLE @.store ADD COLUMN identity text NOT NULL DEFAULT gen_random_uuid()::text;
