"""What is announced, to whom, in which form and when again.

Guarantee: pure. The same event gives the same bytes at every attempt, no form shows a secret or lets a value speak as
markup, and no address is called that was not judged here.
"""
