"""What Homeostat talks about: declarations, records, references, events and errors.

Frozen values only. Nothing here does I/O, reads the time or imports a heavy library.
"""
