"""What users import: declarations and a client. Everything here is reached as ``import homeostat as hs``."""
