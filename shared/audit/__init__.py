"""The audit log: who changed what, when, from what to what.

Guarantee: entries carry no secret, only keyed fingerprints of them, and are linked by hashes, so that an entry that was
changed, removed, added or moved is found and its position named, by anyone who has the entries. Pure.
"""
