"""What a run is: the facts its journal holds, the state they add up to, and every decision taken from that state.

Nothing in this room waits, reads a clock or touches a store. It knows no other room.
"""
