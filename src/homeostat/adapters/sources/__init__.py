"""Where tracked work comes from and goes to: folders and databases of other trackers, and exports.

A module a format; ``opening`` tells which one a place has. Places are only read, but for an export's own.
"""

from homeostat.adapters.sources.export import ExportFolder
from homeostat.adapters.sources.opening import open_source

__all__ = ["ExportFolder", "open_source"]
