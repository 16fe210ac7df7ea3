"""The HTTP front. Decides nothing: it writes tasks, never objects.

Guarantee: whoever is answered 202 has a committed row, and no request waits for Redis.
"""
