"""How one run is carried out: its program, its steps and attempts, its child processes, and the committer that makes
what they record durable.

This room stands on the store and the journal, and does not know who owns which run.
"""
