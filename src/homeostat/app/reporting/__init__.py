"""A span of time of one deployment, told whole: as a record for programs, as one page for people."""
