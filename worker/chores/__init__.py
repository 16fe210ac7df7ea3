"""Long tasks, done chunk by chunk.

Guarantee: each chunk is one transaction that first locks the task's row and moves its cursor, so that a chunk is done
once, whoever is killed in between, and whoever was overtaken commits nothing.
"""
