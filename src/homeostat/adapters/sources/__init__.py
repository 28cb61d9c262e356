"""Where tracked work comes from: folders and databases of other trackers, and exports. Only read, never changed.

A module a format; ``opening`` tells which one a place has.
"""
