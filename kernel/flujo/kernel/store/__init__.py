"""The port that every backend keeps, and what is done with stores through it: reading, checking, exporting, copying
and forgetting runs.

This room stands on the journal and knows no program.
"""
