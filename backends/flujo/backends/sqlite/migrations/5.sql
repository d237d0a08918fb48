-- Schema 4 to 5: a store has an identity. The reasons are in `schema.sql`. Runs inside the transaction of whoever migrates.

CREATE TABLE store (
    identity TEXT NOT NULL
) STRICT;

INSERT INTO store VALUES (lower(hex(randomblob(16))));
