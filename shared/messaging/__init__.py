"""Redis, through Celery and pub/sub.

Guarantee: whatever passes here may be lost, doubled or reordered without harm. Messages carry ids, nothing else.
"""
