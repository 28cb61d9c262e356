"""What Homeostat knows how to do, one package per capability.

Capabilities compute over values and ports; none imports another, and none imports an adapter.
"""
