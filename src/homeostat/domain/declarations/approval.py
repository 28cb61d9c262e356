"""Approvals: whose consent a version needs, beside its gates, before it may serve."""

from __future__ import annotations

import msgspec

from homeostat.domain.errors import DeclarationError


class ApprovalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """People agree to a version before it is rolled out.

    Args:
        by: How many different people.
        requester: Whether whoever asked for the training may be one of them.
    """

    by: int = 1
    requester: bool = True

    def __post_init__(self) -> None:
        if self.by < 1:
            raise DeclarationError(
                f"approval by {self.by!r}", remedy="Say how many people agree, as in hs.approval(by=1)"
            )
