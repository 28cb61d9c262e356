"""MLflow's REST protocol, version 2.0 and what 3.0 added to it: the stock client works against Homeostat unchanged.

One module a resource: its messages as msgspec structs, and its endpoints as calls of use cases. No logic of tracking
or of the registry lives here, only the forms in which MLflow asks and is answered.
"""
