"""The words on the wire: requests, answers and errors.

Guarantee: what a decoder returns can be stored and echoed exactly; what it refuses, it refuses with the field's name
and never with the value.
"""
