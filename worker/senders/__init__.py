"""The only place from which Pointsman calls somebody else.

Guarantee: no sender raises for what the other side does, waits longer than its deadline, follows a redirect, obeys a
proxy from the environment, or connects to an address that was not judged in the same attempt.
"""
