"""Between the kernel's values and the messages of `flujo.v1`, both ways. Nothing here waits or knows of a call.

    values    instants, durations, payloads
    runs      summaries, states, filters
    events    the facts of a journal

Server and client use the same functions, so that what one of them writes the other one reads.
"""
