"""Runs in one schema of a PostgreSQL database that processes of any number of hosts may share. docs/many-hosts.md has
the whole story.

Top down: `backend` is the port, `journal` and `queries` are the SQL it runs, `rows` tell whether a row is what was
written, `listing`, `statistics` and `pruning` choose among many runs. `line` asks the server, and asks again;
`connection` is the only module that knows the driver; `url` says where the server is.

Who is alive say `leases`, which `heart` renews; it also has the ears that hear of requests. `schema` (`schema.sql`)
makes and migrates the tables, `integrity` looks through them, `details` tells an operator about them.
"""

from .backend import PostgresBackend, open_postgres

__all__ = ["PostgresBackend", "open_postgres"]
