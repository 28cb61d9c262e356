"""Apprise, against a real receiver of its JSON form."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from homeostat.adapters.notifiers import AppriseService, Webhook
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.notices import Notice, Told
from homeostat.domain.records import Alert, Recent, Suspects
from tests.app.receiving import SECRET, receiving

# apprise imports it where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
NOW = datetime(2026, 3, 2, tzinfo=UTC)
ALERT = Alert(
    id="01A",
    key="k",
    subject="deployment/shop",
    severity="page",
    state="open",
    summary="it burns",
    action="rolled back to @3",
    opened_at=NOW,
    onset=NOW,
    suspects=Suspects(
        features=["size"], slices=["plan=a"], changes=[Recent(7, NOW, "dataset/orders@2 has a new version")]
    ),
)


def notice(transition: str) -> Notice:
    told = [Told(7, transition, ALERT)]
    return Notice(id="01N", group="deployment/shop", at=NOW, severity="page", told=told)


def test_a_notice_arrives_in_words() -> None:
    with receiving() as receiver:
        receiver.status = 200
        channel = AppriseService(receiver.url.replace("http://", "json://"))
        channel.send(notice("opened"))
        channel.send(notice("resolved"))
        opened, resolved = (msgspec.json.decode(post.body) for post in receiver.posts)
    assert (opened["type"], resolved["type"]) == ("failure", "success")
    assert opened["title"] == "[page] deployment/shop: it burns"
    for said in (
        "it burns",
        "features: size",
        "slices: plan=a",
        "orders@2 has a new version",
        "rolled back to @3",
    ):
        assert said in opened["message"]
    assert resolved["message"].startswith("resolved: it burns")


def test_a_service_that_refuses_is_unavailable_and_a_wrong_address_is_refused() -> None:
    with receiving() as receiver:
        receiver.status = 500
        with pytest.raises(StoreUnavailable):
            AppriseService(receiver.url.replace("http://", "json://")).send(notice("opened"))
    with pytest.raises(HomeostatError, match="pigeon"):
        AppriseService("pigeon://loft/secret")


def test_the_address_of_a_webhook_is_not_told_to_others() -> None:
    """What went wrong is kept in the ledger and told to other channels, and the address may hold a token."""
    with receiving() as receiver:
        receiver.status = 404
        with pytest.raises(StoreUnavailable) as refused:
            Webhook(f"{receiver.url}/hooks/token", SECRET, lambda: NOW).send(notice("opened"))
    assert str(refused.value) == "it answered 404"
    with pytest.raises(StoreUnavailable) as away:
        Webhook(f"{receiver.url}/hooks/token", SECRET, lambda: NOW).send(notice("opened"))
    assert "token" not in str(away.value)
