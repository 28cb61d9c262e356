"""Functions of equal digests do the same: whatever of its project a function uses is part of its digest."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from homeostat.app.projects import importing
from homeostat.domain.declarations.code import NoDigest, code_digest

PROJECT = """
import functools
import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
import numpy as np
import polars as pl
import homeostat as hs
import helpers
import parts.shapes
from helpers import Base, declared, retried
from parts import units as u
from parts.work import via_below

LIMIT = 3
WORDS = {"a", "b", "c"}
PATTERN = re.compile("x+")
LATE = pl.col("delay") > 15
SPAN = timedelta(hours=1)
TABLE = pl.DataFrame({"a": [1, 2]})
WEIGHTS = np.array([1.0, 2.0])
UNUSED = 1
flights = hs.Dataset("flights", key="id")

def plain(x):
    return x + 1

def recursive(x):
    return other(x - 1) if x else 0

def other(x):
    return recursive(x) + 5

def adder(n):
    def add(x):
        return x + n
    return add

plus = adder(1)
bound = functools.partial(plain, 7)
pair = [lambda x: x * 2, lambda x: x * 3]
BY_NAME = {"first": plain, "second": pair[0]}

@functools.lru_cache
def remembered(x):
    return x - 11

class Child(Base):
    FACTOR = 4

    @property
    def size(self):
        return 21

    @staticmethod
    def fixed():
        return 22

    def itself(self):
        return Child

class Kind(Enum):
    SMALL = "s"
    LARGE = "l"

@dataclass(frozen=True)
class Settings:
    depth: int = 9
    names: list = field(default_factory=list)

SETTINGS = Settings(depth=10)

@hs.step
def inner(x: int) -> int:
    return x + 31

def via_module(x): return helpers.clean(x)
def via_package(x): return parts.shapes.area(x)
def via_alias(x): return u.metres(x)
def via_getattr(x): return getattr(helpers, "cle" + "an")(x)
def via_import(x):
    import later
    return later.now(x)
def via_from_import(x):
    from parts.late import after
    return after(x)
def via_base(x): return Child().go(x)
def via_class(x): return Child.FACTOR, Child.fixed()
def via_default(x, n=LIMIT, f=plain): return x + n
def via_closure(x): return plus(x)
def via_partial(x): return bound()
def via_list(x): return [f(x) for f in pair]
def via_dict(x): return BY_NAME["first"](x)
def via_recursion(x): return recursive(x)
def via_cache(x): return remembered(x)
def via_enum(x): return Kind.SMALL.value
def via_object(x): return SETTINGS.depth
def via_values(x): return WORDS, PATTERN, LATE, SPAN, TABLE, WEIGHTS
def via_step(x): return inner(x)
def via_decorated(x): return decorated(x)
def via_method(x): return method(x)

@retried(times=LIMIT)
def decorated(x):
    return x + 41

method = Child().go
via_decorator = declared(plain)
via_several = functools.partial(helpers.clean, y=2)
"""
FILES = {
    "project.py": PROJECT,
    "helpers.py": """
import functools

def clean(x, y=0):
    return scale(x) + 51

def scale(x):
    return x * 52

class Root:
    def go(self, x):
        return x * 61

class Base(Root):
    pass

def declared(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args) + 71
    return call

def retried(times):
    def wrap(function):
        @functools.wraps(function)
        def call(*args):
            for _ in range(times + 72):
                return function(*args)
        return call
    return wrap
""",
    "later.py": "import deeper\ndef now(x): return deeper.down(x) + 81\n",
    "deeper.py": "def down(x): return x + 82\n",
    "parts/__init__.py": "",
    "parts/shapes.py": "from . import units\ndef area(x): return units.metres(x) * 91\n",
    "parts/units.py": "METRE = 92\ndef metres(x): return x * METRE\n",
    "parts/work.py": "import helpers\ndef via_below(x): return helpers.clean(x)\n",
    "parts/late.py": "from .units import metres\ndef after(x): return metres(x) + 93\n",
}
NAMES = [
    "plain",
    *(line.split()[1].split("(")[0] for line in PROJECT.splitlines() if line.startswith("def via")),
]
NAMES += ["via_decorator", "via_several", "via_below"]
ROOM = itertools.count()


def digests(folder: Path, before: str = "", after: str = "") -> dict[str, str]:
    """By function, its digest in a new copy of the project, one text replaced by another where it stands."""
    root = folder / f"copy{next(ROOM)}"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace(before, after) if before else text)
    file = root / "project.py"
    module = ModuleType(f"homeostat_project_{root.name}")
    module.__file__ = str(file)
    with importing(root):
        sys.modules[module.__name__] = module
        exec(compile(file.read_text(), str(file), "exec"), vars(module))
    return {name: code_digest(vars(module)[name]) for name in NAMES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(tmp_path_factory.mktemp("whole"))


CLEAN = {"via_module", "via_getattr", "via_several", "via_below"}
CHILD = {"via_base", "via_class", "via_method"}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("UNUSED = 1", "UNUSED = 2  # a comment", set()),
        (
            "return x + 1\n",
            "return x + 100\n",
            {"plain", "via_default", "via_partial", "via_dict", "via_decorator"},
        ),
        ("x) + 5\n", "x) + 500\n", {"via_recursion"}),
        (") + 51", ") + 5100", CLEAN),
        ("x * 52", "x * 5200", CLEAN),
        (") * 91", ") * 9100", {"via_package"}),
        ("METRE = 92", "METRE = 9200", {"via_package", "via_alias", "via_from_import"}),
        ("x) + 81", "x) + 8100", {"via_import"}),
        ("x + 82", "x + 8200", {"via_import"}),
        ("x) + 93", "x) + 9300", {"via_from_import"}),
        ("x * 61", "x * 6100", CHILD | {"via_getattr"}),
        ("FACTOR = 4", "FACTOR = 400", CHILD),
        ("return 21", "return 2100", CHILD),
        ("return 22", "return 2200", CHILD),
        ("LIMIT = 3", "LIMIT = 300", {"via_default", "via_decorated"}),
        ("adder(1)", "adder(100)", {"via_closure"}),
        ("plain, 7", "plain, 700", {"via_partial"}),
        ("x * 3]", "x * 300]", {"via_list"}),
        ("x * 2,", "x * 200,", {"via_list", "via_dict"}),
        ("x - 11", "x - 1100", {"via_cache"}),
        ('SMALL = "s"', 'SMALL = "t"', {"via_enum"}),
        ("depth=10", "depth=1000", {"via_object"}),
        ('"c"}', '"d"}', {"via_values"}),
        ("x+", "x*", {"via_values"}),
        ("> 15", "> 1500", {"via_values"}),
        ("hours=1", "hours=2", {"via_values"}),
        ("[1, 2]", "[1, 3]", {"via_values"}),
        ("[1.0, 2.0]", "[1.0, 3.0]", {"via_values"}),
        ("x + 31", "x + 3100", {"via_step"}),
        ("x + 41", "x + 4100", {"via_decorated"}),
        ("times + 72", "times + 7200", {"via_decorated", "via_getattr"}),
        ("+ 71", "+ 7100", {"via_decorator", "via_getattr"}),
        ("y=2", "y=200", {"via_several"}),
    ],
)
def test_a_change_of_what_a_function_uses_changes_its_digest_and_no_others(
    tmp_path: Path, whole: dict[str, str], before: str, after: str, changed: set[str]
) -> None:
    assert any(before in text for text in FILES.values())
    found = digests(tmp_path, before, after)
    assert {name for name in NAMES if found[name] != whole[name]} == changed


SEEDED = """
import sys
from pathlib import Path
from types import ModuleType
from homeostat.domain.declarations.code import code_digest
sys.path.insert(0, sys.argv[1])
file = Path(sys.argv[1]) / "project.py"
module = sys.modules["homeostat_project_elsewhere"] = ModuleType("homeostat_project_elsewhere")
module.__file__ = str(file)
space = vars(module)
exec(compile(file.read_text(), str(file), "exec"), space)
for name in sys.argv[2:]:
    print(name, code_digest(space[name]))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_digest_is_the_same_in_every_process_and_place(
    tmp_path: Path, whole: dict[str, str], seed: str
) -> None:
    digests(tmp_path)
    (root,) = tmp_path.iterdir()
    command = [sys.executable, "-c", SEEDED, str(root), *NAMES]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == whole


def add(number: Any, x: int) -> int:
    return number + x


def calling(given: Any) -> Any:
    def call(x: int) -> Any:
        return given(x)

    return call


def test_what_is_closed_over_counts() -> None:
    assert code_digest(calling(partial(add, 1))) == code_digest(calling(partial(add, 1)))
    assert code_digest(calling(partial(add, 1))) != code_digest(calling(partial(add, 2)))
    assert code_digest(calling([add])) != code_digest(calling([calling]))
    assert code_digest(calling(pl.DataFrame({"a": [1]}))) != code_digest(calling(pl.DataFrame({"a": [2]})))
    assert code_digest(calling(2)) != code_digest(calling(True)) != code_digest(calling(1))


LOCK = threading.Lock()


def locked(x: int) -> int:
    with LOCK:
        return x


def test_what_cannot_be_told_from_others_is_refused_by_its_name() -> None:
    with pytest.raises(NoDigest, match="'given', which it closes over, is a lock"):
        code_digest(calling(LOCK))
    with pytest.raises(NoDigest, match="'LOCK', which it uses, is a lock"):
        code_digest(locked)
    with pytest.raises(NoDigest, match="'given', which it closes over, is a generator"):
        code_digest(calling(one for one in "abc"))
    with pytest.raises(NoDigest, match="no function of Python"):
        code_digest(len)


def test_cycles_end() -> None:
    ring: list[Any] = [add]
    ring.append(calling(ring))
    assert code_digest(ring[1]) == code_digest(ring[1])
