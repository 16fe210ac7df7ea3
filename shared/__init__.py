"""What the API and the worker must agree on.

Rooms, each importing only downwards: operations, store, messaging / audit, outbox / contract, encryption / domain,
runtime.
"""
