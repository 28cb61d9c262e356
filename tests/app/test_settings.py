"""Settings: where they come from, which are refused, and that each is documented."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from homeostat.app.settings import NAMES, Settings, described, variable
from homeostat.domain.errors import HomeostatError

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def load(directory: Path, flags: dict[str, Any] | None = None, /, **environ: str) -> Settings:
    return Settings.load(flags, environ={variable(k): v for k, v in environ.items()}, directory=directory)


@pytest.mark.parametrize(("name", "environment", "default", "text"), described())
def test_each_setting_is_documented(name: str, environment: str, default: str, text: str) -> None:
    assert f"| `{name}` | `{environment}` | `{default}` | {text} |" in DOCUMENT.read_text("utf-8")


def test_defaults_lie_in_the_home(tmp_path: Path) -> None:
    found, home = load(tmp_path), tmp_path / ".homeostat"
    assert found == Settings(
        home=home,
        store=f"sqlite:///{home}/homeostat.db",
        blobs=str(home / "blobs"),
        tables=str(home / "tables"),
        online=f"lmdb:{home}/online",
        executor="local:",
        host="127.0.0.1",
        port=5000,
        serve_port=5001,
        workers=1,
        clock="system",
        server="http://127.0.0.1:5000",
    )


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "homeostat.toml").write_text('port = 1\nserve_port = 1\nworkers = 3\nhost = "file"\n')
    found = load(tmp_path, {"port": 3, "host": None}, port="2", serve_port="2")
    assert (found.port, found.serve_port, found.workers, found.host, found.clock) == (
        3,
        2,
        3,
        "file",
        "system",
    )


def test_the_file_in_the_home_is_read_when_the_directory_has_none(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "homeostat.toml").write_text('blobs = "files"\nstore = "sqlite:///my.db"\n')
    found = load(tmp_path, home=str(home))
    assert (found.blobs, found.store) == (str(home / "files"), f"sqlite:///{home}/my.db")
    (tmp_path / "homeostat.toml").write_text("workers = 2\n")
    assert load(tmp_path, home=str(home)).blobs == str(home / "blobs")


def test_the_file_may_name_the_home_unless_it_lies_there(tmp_path: Path) -> None:
    (tmp_path / "homeostat.toml").write_text('home = "data"\n')
    assert load(tmp_path).home == tmp_path / "data"
    with pytest.raises(HomeostatError, match="HOMEOSTAT_HOME"):
        load(tmp_path, home=str(tmp_path))


def test_tables_follow_blobs_to_s3(tmp_path: Path) -> None:
    assert load(tmp_path, blobs="s3://bucket/prefix/").tables == "s3://bucket/prefix/tables"
    assert load(tmp_path, blobs="s3://bucket", tables="local").tables == str(tmp_path / "local")


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:7000"), ("h", "http://h:7000")])
def test_the_server_is_where_it_listens(tmp_path: Path, host: str, url: str) -> None:
    assert load(tmp_path, host=host, port="7000").server == url
    assert load(tmp_path, host=host, server="https://example.org/x/").server == "https://example.org/x"


def test_a_child_process_elsewhere_has_the_same_settings(tmp_path: Path) -> None:
    found = load(tmp_path, {"port": 7000}, store="sqlite:///my.db", online="lmdb:here", clock="simulated")
    (tmp_path / "other").mkdir()
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from homeostat.app.settings import Settings as S; sys.stdout.write(repr(S.load()))",
        ],
        env={**os.environ, **found.environment()},
        cwd=tmp_path / "other",
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == repr(found)


def test_they_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        load(tmp_path).port = 1  # type: ignore[misc]  # this is what the test is about


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": "many"}, "port is 'many'. Set HOMEOSTAT_PORT to a number from 0 to 65535"),
        ({"serve_port": "70000"}, "HOMEOSTAT_SERVE_PORT"),
        ({"workers": "0"}, "HOMEOSTAT_WORKERS to a number from 1"),
        ({"clock": "sundial"}, "HOMEOSTAT_CLOCK to system or simulated"),
        ({"executor": "ray://head"}, "HOMEOSTAT_EXECUTOR to local:"),
        ({"store": "mysql://host/db"}, "setting store .*Write sqlite:///file or postgresql://"),
        ({"store": "sqlite:///:memory:"}, "in memory"),
        ({"store": "postgresql://me:secret@host/db"}, "setting store carries credentials.*PGPASSWORD"),
        ({"store": "postgresql://me@host/db?password=secret"}, "setting store carries credentials"),
        ({"blobs": "s3://key:secret@bucket"}, "setting blobs carries credentials.*AWS_SECRET_ACCESS_KEY"),
        ({"tables": "gopher://x"}, "setting tables .*s3://bucket"),
        ({"online": "redis://:secret@host"}, "setting online carries credentials.*REDIS_PASSWORD"),
        ({"online": "memory:"}, "setting online .*lmdb:folder"),
        ({"server": "host:5000"}, "setting server .*http://"),
        ({"server": "http://me:secret@host"}, "setting server carries credentials"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_remedy(
    tmp_path: Path, values: dict[str, str], message: str
) -> None:
    with pytest.raises(HomeostatError, match=message) as caught:
        load(tmp_path, None, **values)
    assert "secret" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ports = 1", "unknown setting 'ports'. Use home, store"),
        ("port = ", "is not TOML"),
        ("port = true", "port is True"),
        ("port = 1.5", "port is 1.5"),
        ("store = 5", "store is 5, not a text"),
        ("[store]\nurl = 'x'", "not a text"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "homeostat.toml").write_text(text)
    with pytest.raises(HomeostatError, match=message):
        load(tmp_path)


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match="'colour'"):
        load(tmp_path, {"colour": "red"})


def test_an_ipv6_user_and_a_user_of_the_database_may_stand_in_urls(tmp_path: Path) -> None:
    found = load(tmp_path, store="postgresql://me@[::1]:5432/db", online="rediss://host:6380/1")
    assert (found.store, found.online) == ("postgresql://me@[::1]:5432/db", "rediss://host:6380/1")


def test_names_are_those_of_the_fields() -> None:
    assert NAMES[0] == "home"
    assert len(set(NAMES)) == len(described())
