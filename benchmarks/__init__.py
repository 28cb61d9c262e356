"""What the documentation claims about speed, measured beside a bare baseline in the same run: ``make bench``."""
