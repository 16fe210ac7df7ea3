"""The embedded stack: a real PostgreSQL, a real Valkey and Pointsman's own processes as children of one supervisor.

However the supervisor ends, no child outlives it for long, and the next start on the same folder finds all data.
"""
