"""Serving: requests checked, routed to arms, scored in micro-batches, answered and logged.

Memory and the online store only; nothing here touches SQL, files or HTTP.
"""
