"""Telling channels: who hears of what, together, signed, as often as it takes, and what happens when one is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook as Verifier

from homeostat.adapters.clock import SimulatedClock
from homeostat.adapters.notifiers import read_alerts
from homeostat.app.alerts import acknowledge, alerts, find_alert, open_alert, resolve_alert
from homeostat.app.attending import attend
from homeostat.app.container import Container
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.silencing import end_silence, silence, silences
from homeostat.app.telling import channels, deliver
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError, NotFound
from homeostat.domain.notices import Notice, Told
from homeostat.domain.records import Alert, Delivery
from tests.app.receiving import SECRET, Receiver, receiving

START = datetime(2026, 3, 2, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)


class Hands(SimulatedClock):
    """A clock whose real time is moved by hand too."""

    real = datetime(2026, 1, 1, tzinfo=UTC)

    def wall(self) -> datetime:
        return self.real


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in ("OPS", "ONCALL", "BOSS"):
        monkeypatch.setenv(f"HOMEOSTAT_CHANNEL_{name}_SECRET", SECRET)
    with receiving() as found:
        yield found


@pytest.fixture
def container(tmp_path: Path, receiver: Receiver) -> Iterator[Container]:
    url = receiver.url
    declared = (
        f"ops webhook {url}/ops; oncall webhook {url}/oncall severity=page; boss webhook {url}/boss after=15m"
    )
    clock = Hands(tmp_path / "clock", START)
    with Container(Settings(home=tmp_path, clock="simulated", channels=declared)) as made:
        made.__dict__["clock"] = clock
        yield made
    clock.close()


def pass_time(container: Container, by: timedelta) -> None:
    clock = container.clock
    assert isinstance(clock, Hands)
    clock.set(clock.now() + by)
    clock.real += by


def opened(
    container: Container, key: str = "a", severity: str = "page", subject: str = "deployment/shop"
) -> str:
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=key,
            subject=subject,
            severity=severity,  # type: ignore[arg-type] # one of the two
            summary=f"{key} is wrong",
            action="nothing",
        )
    return container.store.find(Alert, ("key", "=", key), order=["-opened_at"])[0].id


def resolved(container: Container, key: str) -> None:
    with container.store.begin() as tx:
        assert resolve_alert(tx, container, key)


def told(
    container: Container, receiver: Receiver, by: timedelta = timedelta(seconds=31)
) -> dict[str, list[str]]:
    """What each channel heard anew, after a while."""
    before = len(receiver.posts)
    react_all(container)
    pass_time(container, by)
    for channel in container.channels:
        deliver(container, channel)
    heard: dict[str, list[str]] = {}
    for post in receiver.posts[before:]:
        heard.setdefault(post.path.strip("/"), []).append(", ".join(" ".join(one) for one in post.told))
    return heard


def test_each_channel_hears_what_it_asked_for(container: Container, receiver: Receiver) -> None:
    opened(container, "a", "page")
    assert told(container, receiver) == {"ops": ["opened a is wrong"], "oncall": ["opened a is wrong"]}
    opened(container, "b", "ticket")
    assert told(container, receiver) == {"ops": ["opened b is wrong"]}
    opened(container, "b", "ticket")  # it stands
    assert told(container, receiver) == {}
    resolved(container, "b")
    resolved(container, "a")
    both = "resolved b is wrong, resolved a is wrong"
    assert told(container, receiver) == {"ops": [both], "oncall": ["resolved a is wrong"]}
    lines = read_alerts(container.settings.home / "logs" / "alerts.jsonl")
    assert [one.key for one in lines] == ["a", "b", "b", "a"]
    assert container.ledger.verify().ok


def test_the_title_is_of_what_is_not_over(container: Container) -> None:
    opened(container, "a")
    opened(container, "b", "ticket")
    a, b = (find_alert(container.store, key) for key in "ab")
    both = [Told(1, "opened", a), Told(2, "opened", b), Told(3, "resolved", a)]

    def title(*told: Told) -> str:
        return Notice(id="n", group=a.subject, at=START, severity="page", told=[*told]).title

    assert title(*both) == "[page] deployment/shop: b is wrong and 1 more"
    assert title(*both, Told(4, "resolved", b)) == "[page] deployment/shop: resolved: a is wrong and 1 more"
    assert title(both[0], both[2]) == "[page] deployment/shop: resolved: a is wrong"


def test_of_what_raised_at_length_an_alert_says_the_first_line(container: Container) -> None:
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key="long",
            subject="deployment/shop",
            severity="ticket",
            summary="it failed: ValueError: NaN.\nImpute what is missing.\nSee the manual.",
            action="nothing",
        )
    (alert,) = alerts(container)
    assert alert.summary == "it failed: ValueError: NaN."
    assert alert.detail == {"more": "Impute what is missing.\nSee the manual."}


def test_what_comes_about_one_subject_goes_out_together(container: Container, receiver: Receiver) -> None:
    opened(container, "a", "ticket")
    opened(container, "b", "ticket")
    opened(container, "c", "ticket", "deployment/other")
    found = told(container, receiver)["ops"]
    assert sorted(found) == ["opened a is wrong, opened b is wrong", "opened c is wrong"]
    opened(container, "d", "ticket")
    assert told(container, receiver, timedelta(seconds=5)) == {}  # it waits for company
    opened(container, "e", "page")
    assert told(container, receiver, timedelta(seconds=5))["ops"] == ["opened d is wrong, opened e is wrong"]


def test_a_message_is_a_cloud_event_with_a_standard_signature(
    container: Container, receiver: Receiver
) -> None:
    assert isinstance(container.clock, Hands)
    container.clock.real = SimulatedClock.wall(container.clock)  # the verifier refuses what is old
    opened(container)
    told(container, receiver)
    post = receiver.posts[0]
    assert Verifier(SECRET).verify(post.body.decode(), post.headers)
    event = from_http_event(HTTPMessage(headers=post.headers, body=post.body))
    assert (event.get_type(), event.get_subject()) == ("homeostat.alerts", "deployment/shop")
    assert event.get_id() == post.headers["webhook-id"]
    assert {post.headers["content-type"]} == {"application/cloudevents+json"}


def test_nobody_acknowledged_it(container: Container, receiver: Receiver) -> None:
    first, second = opened(container, "a"), opened(container, "b")
    told(container, receiver)
    acknowledge(container, first, actor="ann", reason="mine")
    assert told(container, receiver)["oncall"] == ["acknowledged a is wrong"]
    pass_time(container, timedelta(minutes=15))
    assert attend(container) == [f"alert/{second} escalated to channel/boss"]
    assert attend(container) == []
    assert told(container, receiver) == {"boss": ["escalated b is wrong"]}
    with pytest.raises(Conflict, match="ann"):
        acknowledge(container, first)
    resolved(container, "b")
    assert set(told(container, receiver)) == {"ops", "oncall", "boss"}
    with pytest.raises(Conflict, match="resolved"):
        acknowledge(container, second)
    with pytest.raises(NotFound):
        acknowledge(container, "nothing")
    kinds = [event.kind for event in container.ledger.find(subject=f"alert/{second}", newest=False)]
    assert kinds == ["alert.opened", "alert.escalated", "alert.resolved"]


def test_what_a_silence_kept_back_is_told_when_it_ends(container: Container, receiver: Receiver) -> None:
    now = container.clock.now()
    silence(container, until=now + AN_HOUR, reason="known", subject="deployment/*")
    opened(container, "a")
    opened(container, "b")
    opened(container, "c", subject="dataset/rows")
    assert told(container, receiver)["ops"] == ["opened c is wrong"]
    resolved(container, "b")  # nobody had heard of it
    pass_time(container, timedelta(minutes=20))
    (open_one,) = [one.id for one in alerts(container, state="open") if one.key == "c"]
    assert attend(container) == [f"alert/{open_one} escalated to channel/boss"]
    assert "ops" not in told(container, receiver)
    pass_time(container, AN_HOUR)
    attend(container)
    assert told(container, receiver)["ops"] == ["opened a is wrong"]
    assert [one.state for one in silences(container, ended=True)] == ["ended"]


def test_maintenance_begins_when_it_was_announced(container: Container, receiver: Receiver) -> None:
    now = container.clock.now()
    made = silence(container, begins_at=now + AN_HOUR, until=now + 2 * AN_HOUR, reason="disks")
    assert (made.kind, made.state) == ("maintenance", "announced")
    opened(container, "a", "ticket")
    assert told(container, receiver)["ops"] == ["opened a is wrong"]
    pass_time(container, AN_HOUR)
    attend(container)
    opened(container, "b", "ticket")
    assert told(container, receiver) == {}
    end_silence(container, made.id)
    assert told(container, receiver)["ops"] == ["opened b is wrong"]
    with pytest.raises(Conflict):
        end_silence(container, made.id)
    for wrong in ({"until": now}, {"until": container.clock.now() + AN_HOUR, "reason": " "}):
        with pytest.raises(BadRequest):
            silence(container, **({"reason": "x"} | wrong))  # type: ignore[arg-type] # as a caller would
    with pytest.raises(NotFound):
        end_silence(container, "nothing")


def test_a_channel_that_is_away_for_hours_hears_everything_when_it_is_back(
    container: Container, receiver: Receiver
) -> None:
    def away(post: object) -> None:
        receiver.status = 503 if post.path == "/ops" else 204  # type: ignore[attr-defined] # a Post

    receiver.on_post = away
    opened(container, "a")
    assert told(container, receiver) == {"oncall": ["opened a is wrong"]}
    for _ in range(8):  # a channel that fails delays no other
        heard = told(container, receiver, timedelta(minutes=30))
        assert "ops" not in heard
    opened(container, "b")
    assert told(container, receiver)["oncall"] == ["opened b is wrong"]
    (alert,) = container.store.find(Alert, ("key", "=", "channel:ops"))
    assert (alert.state, alert.severity) == ("open", "page")
    assert "503" in alert.summary
    assert any("channel ops was not told" in str(post.told) for post in receiver.posts)
    (ops, *_) = channels(container)
    assert (ops.waiting, ops.failures > 3) == (2, True)
    receiver.on_post = lambda post: None
    receiver.status = 204
    heard = told(container, receiver, AN_HOUR)
    assert heard["ops"] == ["opened a is wrong", "opened b is wrong"]
    assert channels(container)[0].waiting == 0
    assert told(container, receiver)["oncall"] == [f"resolved {alert.summary}"]


def test_no_channel_hears_of_the_end_before_the_beginning(container: Container, receiver: Receiver) -> None:
    receiver.status = 503
    opened(container, "a")
    opened(container, "b", subject="deployment/other")
    for _ in range(5):  # the waits grow to more than what follows takes
        assert told(container, receiver) == {}
    receiver.status = 204
    resolved(container, "a")
    heard: list[str] = []
    for _ in range(8):
        heard += told(container, receiver, timedelta(seconds=3)).get("oncall", [])
    assert [one for one in heard if "a is wrong" in one] == ["opened a is wrong", "resolved a is wrong"]
    assert "opened b is wrong" in heard


def test_a_crash_between_sending_and_recording_sends_again_under_the_same_id(
    container: Container, receiver: Receiver
) -> None:
    opened(container)
    react_all(container)
    program = (
        "import sys; from pathlib import Path; from homeostat.app.container import Container\n"
        "from homeostat.app.settings import Settings; from homeostat.app.telling import deliver\n"
        "container = Container(Settings(home=Path(sys.argv[1]), channels=sys.argv[2]))\n"
        "deliver(container, container.channels[0])\n"
    )
    killed: list[int] = []

    def kill(post: object) -> None:
        if not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    receiver.on_post = kill
    arguments = [str(container.settings.home), container.settings.channels]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    assert process.wait(60) == -signal.SIGKILL
    assert [one.state for one in container.store.find(Delivery, ("channel", "=", "ops"))] == ["waiting"]
    assert isinstance(container.clock, Hands)
    container.clock.real = SimulatedClock.wall(container.clock)
    deliver(container, container.channels[0])
    first, second = receiver.posts
    assert first.event["id"] == second.event["id"]
    assert first.told == second.told
    deliver(container, container.channels[0])
    assert len(receiver.posts) == 2


def test_a_channel_without_a_secret_says_so(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOMEOSTAT_CHANNEL_OPS_SECRET")
    with pytest.raises(HomeostatError, match="HOMEOSTAT_CHANNEL_OPS_SECRET"):
        container.sender(container.channels[0])
    monkeypatch.setenv("HOMEOSTAT_CHANNEL_OPS_SECRET", "whsec_?")
    with pytest.raises(HomeostatError, match="base64"):
        container.sender(container.channels[0])


@pytest.mark.parametrize(
    "wrong",
    [
        "ops",
        "ops pigeon",
        "ops webhook ftp://here",
        "ops webhook https://me:secret@here",
        "ops webhook https://here?token=1",
        "ops apprise slack://a/b/c",
        "ops webhook severity=loud",
        "ops webhook after=soon",
        "a webhook; a webhook",
    ],
)
def test_a_channel_that_cannot_be_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(HomeostatError, match="channel"):
        Settings(home=tmp_path, channels=wrong)
