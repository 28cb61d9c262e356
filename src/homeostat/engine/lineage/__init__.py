"""Lineage: what came from what, walked along the edges that events put into the ledger."""
