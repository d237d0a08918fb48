"""Which runs a kernel owns, where each of them is, and how a kernel comes by them: admission, timers, the inbox and
takeover.

This room stands on all the others; only `flujo.kernel.kernel` stands on it.
"""
