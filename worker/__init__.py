"""The Celery side: the only writer of objects.

Guarantee: a task's effect, its audit entries, its announcements and its end are one commit, made once and in the order
of the object's line, however often and in whatever order Celery rings.
"""
