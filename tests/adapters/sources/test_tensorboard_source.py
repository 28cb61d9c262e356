"""TensorBoard's logs, as TensorBoard and tensorboardX wrote them; whole, cut off and damaged."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import msgspec
import pytest

from homeostat.adapters.sources import messages, open_source
from homeostat.adapters.sources.framing import tfrecords
from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Missing
from tests.adapters.sources.places import files, points, runs, tensorboard

AT = 1_700_000_000_250


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tensorboard(tmp_path)


def test_a_run_is_a_folder_with_events(folder: Path) -> None:
    source = open_source(str(folder))
    assert [item.load().name for item in source.experiments()] == ["logs"]
    found = runs(source)
    assert sorted(found) == ["other", "other/tried", "train"]
    assert source.count() == 3
    assert {len(run.run.id) for run in found.values()} == {32}
    assert found["train"].run.state == "succeeded"


def test_scalars_as_numbers_and_as_tensors(folder: Path) -> None:
    found = points(runs(open_source(str(folder)))["train"])
    assert sorted(found) == ["acc@1", "as_tensor", "loss"]
    assert [(value, step) for value, _, step in found["as_tensor"]] == [(0.0, 0), (1.0, 1), (2.0, 2)]
    assert found["loss"][0] == (1.0, AT, 0)
    assert found["loss"][2][0] == pytest.approx(1 / 3, rel=1e-7)  # a float of 32 bits, as it was written
    other = points(runs(open_source(str(folder)))["other"])
    assert other == {"a/b": [(1.5, AT, 3)], "nan": [("NaN", AT, 3)]}


def test_hyperparameters(folder: Path) -> None:
    found = runs(open_source(str(folder)))
    assert found["train"].params == {"lr": "0.1", "layers": "3", "name": "adam", "flag": "True"}
    assert found["train"].tags == {"homeostat.group": "trial"}
    assert found["other/tried"].params == {"p": "1", "q": "z"}
    assert [value for value, _, _ in points(found["other/tried"])["m"]] == [2.0]


def test_what_is_no_number_is_shown_and_the_events_come_along(folder: Path) -> None:
    found = runs(open_source(str(folder)))
    assert found["train"].missing == found["other"].missing == []
    own = files(found["train"])
    note, weights = (msgspec.json.decode(own[path]) for path in sorted(own) if path.startswith("values/"))
    assert (weights["type"], weights["key"], weights["step"]) == ("histogram", "weights", 1)
    assert (sum(weights["counts"]), len(weights["edges"])) == (10, 31)
    assert (note["type"], note["text"], note["markdown"]) == ("text", "hello", True)
    (path,) = (folder / "train").iterdir()
    assert own[f"tensorboard/{path.name}"] == path.read_bytes()
    own = files(found["other"])
    told = {one["key"]: one for p in own if p.endswith(".json") for one in [msgspec.json.decode(own[p])]}
    assert (told["i"]["type"], told["i"]["width"]) == ("image", 4)
    assert own[told["i"]["file"]].startswith(b"\x89PNG")
    assert len(told["h"]["edges"]) == len(told["h"]["counts"]) + 1
    assert told["h"]["counts"][0] > 0 < told["h"]["counts"][-1]


def test_what_nothing_here_shows_is_told(folder: Path) -> None:
    (path,) = (folder / "train").iterdir()
    event = messages.tensorboard("Event")(wall_time=1_800_000_000.0, step=9, graph_def=b"g")
    event.summary.value.add(tag="i").image.encoded = b"no image"
    event.summary.value.add(tag="s").audio.encoded = b"RIFF...."
    tensor = event.summary.value.add(tag="t")
    tensor.metadata.plugin_data.plugin_name = "mesh"
    tensor.tensor.dtype = 1
    tensor.tensor.tensor_content = bytes(12)
    with path.open("ab") as file:
        file.write(record(event.SerializeToString()))
    found = runs(open_source(str(folder)))["train"]
    own = files(found)
    assert [p for p in own if p.startswith("values/s/") and p.endswith(".wav")]
    assert [reason for _, reason in found.missing] == [
        "its graphs, 1 of them, stay in its event files",
        "its images, 1 of them, stay in its event files",
        "its values of mesh, 1 of them, stay in its event files",
    ]


def test_a_run_keeps_its_id_wherever_its_folder_is_and_while_it_grows(folder: Path, tmp_path: Path) -> None:
    before = runs(open_source(str(folder)))["train"].run
    moved = tmp_path / "elsewhere" / "train"
    shutil.copytree(folder / "train", moved)
    assert runs(open_source(str(moved.parent)))["train"].run.id == before.id
    assert runs(open_source(str(moved)))["train"].run.id == before.id
    (path,) = moved.iterdir()
    event = messages.tensorboard("Event")(wall_time=1_800_000_000.0, step=9)
    event.summary.value.add(tag="loss", simple_value=0.5)
    with path.open("ab") as file:
        file.write(record(event.SerializeToString()))
    after = runs(open_source(str(moved.parent)))["train"]
    assert after.run.id == before.id
    assert after.run.ended_at == datetime.fromtimestamp(1_800_000_000, UTC)
    assert points(after)["loss"][-1] == (0.5, 1_800_000_000_000, 9)


def test_values_keep_their_names_while_several_writers_go_on(tmp_path: Path) -> None:
    first, second = (tmp_path / "logs" / f"events.out.tfevents.1.host.{number}" for number in (0, 1))
    first.parent.mkdir()

    def text(path: Path, at: float, *said: str) -> None:
        event = messages.tensorboard("Event")(wall_time=at, step=1)
        for one in said:
            value = event.summary.value.add(tag="note")
            value.metadata.plugin_data.plugin_name = "text"
            value.tensor.string_val.append(one.encode())
        with path.open("ab") as file:
            file.write(record(event.SerializeToString()))

    text(first, 1.0, "a", "b")
    text(second, 1.0, "c")
    (before,) = map(files, runs(open_source(str(tmp_path / "logs"))).values())
    text(first, 2.0, "later")
    (after,) = map(files, runs(open_source(str(tmp_path / "logs"))).values())
    kept = {path: content for path, content in before.items() if path.startswith("values/")}
    assert len(kept) == 3
    assert kept.items() <= after.items()
    assert len(after) == len(before) + 1


def record(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    return length + masked(length) + data + masked(data)


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def test_any_part_of_a_file_is_read_up_to_where_it_ends(folder: Path) -> None:
    (path,) = (folder / "train").iterdir()
    whole, everything = path.read_bytes(), list(tfrecords(path, []))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        missing: list[Missing] = []
        found = list(tfrecords(path, missing))
        assert found == everything[: len(found)]
        assert [reason for _, reason in missing] in (
            [],
            ["it ends in the middle of a record, which was left out"],
        )


def test_damage_is_told(folder: Path) -> None:
    (path,) = (folder / "train").iterdir()
    whole, everything = path.read_bytes(), list(tfrecords(path, []))
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        missing: list[Missing] = []
        found = list(tfrecords(path, missing))
        assert len(missing) == 1, place
        assert all(one in everything for one in found)
        assert len(found) < len(everything)


def test_what_holds_no_event(folder: Path) -> None:
    (path,) = (folder / "train").iterdir()
    path.write_bytes(b"")
    with pytest.raises(BadRequest, match="it holds no event"):
        next(item.load() for item in open_source(str(folder)).runs() if item.name == "run train")
    path.write_bytes(b"something that no writer of events wrote")
    with pytest.raises(BadRequest, match="it is damaged from byte 0 on"):
        next(item.load() for item in open_source(str(folder)).runs() if item.name == "run train")
    path.write_bytes(record(b"\xff\xff\xff"))
    with pytest.raises(BadRequest, match="a record of it is no event"):
        next(item.load() for item in open_source(str(folder)).runs() if item.name == "run train")
