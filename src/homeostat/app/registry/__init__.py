"""The registry: registered models, their versions, and the aliases that point to them.

One set of records for what clients register and what the loop trains. Use cases, one transaction each; what takes an
open transaction is for those that change more than the registry. Nothing is imported here, for what the loop needs is
imported by what the registry asks of the loop.
"""
