"""What goes through texts byte by byte, in C: what Arrow's kernels and numpy would need a score of passes for.

Building the package builds this library (`hatch_build.py`); it needs neither Python's headers nor numpy's.
"""
