"""PostgreSQL: tables, and statements as values.

Guarantee: nobody else builds SQL. A store function does no I/O, so one statement runs under asyncpg and psycopg alike.
Locks are taken in one order everywhere: task lines, then objects sorted by type and id, then the head row, last.
"""
