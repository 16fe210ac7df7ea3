"""What a change means. Pure: no I/O, no clock, no randomness; those come in as arguments.

Guarantee: a decision depends on nothing but the state, the command and the context it was given, so applying a task
again after a crash gives the same result.
"""
