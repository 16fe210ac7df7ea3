"""How fast, and how large: ratios inside one run, because absolute numbers say more about the machine than about us.

``python -m benchmarks`` starts its own stack in a temporary folder, measures, prints one table and leaves nothing.
"""
