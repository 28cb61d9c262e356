"""What Homeostat runs on: one package per port, each passing that port's contract suite.

Adapters know the ports and the domain, never the engine and never each other, but for ``clock`` and ``disk``.
"""
