"""Functions of equal digests do the same: whatever of its project a function uses is part of its digest.

And nothing else is: not the folder, not the process, and not what has run.
"""

from __future__ import annotations

import itertools
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable
from datetime import time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from homeostat.app.projects import importing
from homeostat.domain.declarations.base import PROJECT_MODULE
from homeostat.domain.declarations.code import NoDigest, code_digest
from homeostat.engine.pipelines.codec import NotKept
from homeostat.engine.pipelines.keys import code_digest as step_digest

PROJECT = """
import functools
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
import polars as pl
import homeostat as hs
import helpers
import parts.shapes
from helpers import Base, Colour, TABLE, declared, retried
from parts import units as u
from parts.work import via_below
from starred import *

try:
    import a_library_that_is_not_there as quick
except ImportError:
    import slow as quick

HERE = Path(__file__).parent
FILE = str(HERE / "data.csv")
LIMIT = 3
CODES = {"a": 101}
CODES["b"] = 102
CODES.update(c=103)
if LIMIT > 2:
    MODE = "fast"
else:
    MODE = "slow"
for number in (104, 105):
    CODES[str(number)] = number
MEMO = {}
LOCK = threading.Lock()
log = logging.getLogger(__name__)
COUNT = 0
WORDS = {"a", "b", "c"}
LATE = pl.col("delay") > 15
UNUSED = 1
flights = hs.Dataset("flights", key="id", path="flights.csv")
airport = hs.Entity("id")

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
tripled = lambda x: x * TRIPLE
TRIPLE = 8

@functools.lru_cache
def remembered(x):
    return x - 11

@functools.singledispatch
def area(x):
    return 12

@area.register
def _(x: int):
    return 13

HANDLERS = {}

def handles(name):
    def add(function):
        HANDLERS[name] = function
        return function
    return add

@handles("one")
def first_handler(x):
    return x + 14

class Child(Base):
    FACTOR = 4
    SCALE = LIMIT

    @property
    def size(self):
        return 21

    @staticmethod
    def fixed():
        return 22

    @functools.cached_property
    def costly(self):
        return plain(23)

class Slotted:
    __slots__ = ("depth",)

    def go(self):
        return 24

class Kind(Enum):
    SMALL = "s"

@dataclass(frozen=True)
class Settings:
    depth: int = 9
    names: list = field(default_factory=list)

SETTINGS = Settings(depth=10)

@hs.step
def inner(x: int) -> int:
    return x + 31

@hs.on_request
def view(frame):
    return frame.select(a=32)

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
def via_star(x): return shine(x) * SHINING
def via_try(x): return quick.do(x)
def via_table(x): return TABLE["x"]
def via_base(x): return Child().go(x)
def via_class(x): return Child.FACTOR, Child.fixed()
def via_slots(x): return Slotted().go()
def via_default(x, n=LIMIT, f=plain): return x + n
def via_codes(x): return CODES[x]
def via_mode(x): return MODE
def via_file(x): return FILE, HERE
def via_closure(x): return plus(x)
def via_partial(x): return bound()
def via_list(x): return [f(x) for f in pair]
def via_lambda(x): return tripled(x)
def via_recursion(x): return recursive(x)
def via_cache(x): return remembered(x)
def via_dispatch(x): return area(x)
def via_handlers(x): return HANDLERS[x](x)
def via_enum(x): return Kind.SMALL.value
def via_colour(x): return Colour.RED
def via_object(x): return SETTINGS.depth
def via_values(x): return WORDS, LATE
def via_step(x): return inner(x)
def via_view(x): return view.transform(x)
def via_decorated(x): return decorated(x)
def via_method(x): return method(x)
async def via_async(x): return [plain(i) for i in x]
def via_nested(x):
    def below(y):
        return plain(y)
    return [below(plain) for plain in x]
def via_state(x):
    global COUNT
    COUNT += 1
    with LOCK:
        MEMO[x] = COUNT
        log.debug("%s", os.environ.get("HOME"))
    return x + 95

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
from enum import Enum

TABLE = {"x": 50}

def clean(x, y=0):
    return scale(x) + 51

def scale(x):
    return x * 52

class Root:
    def go(self, x):
        return x * 61

class Base(Root):
    def stay(self):
        return 62

class Colour(Enum):
    RED = 63

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
    "deeper.py": "import later\ndef down(x): return x + 82\n",
    "starred.py": "SHINING = 83\ndef shine(x): return x + 84\n",
    "slow.py": "def do(x): return x + 85\n",
    "src/parts/__init__.py": "",
    "src/parts/shapes.py": "from . import units\ndef area(x): return units.metres(x) * 91\n",
    "src/parts/units.py": "METRE = 92\ndef metres(x): return x * METRE\n",
    "src/parts/work.py": "import helpers\ndef via_below(x): return helpers.clean(x)\n",
    "src/parts/late.py": "from .units import metres\ndef after(x): return metres(x) + 93\n",
}
NAMES = ["plain", "via_decorator", "via_several", "via_below"]
NAMES += [
    line.split("def ")[1].split("(")[0]
    for line in PROJECT.splitlines()
    if line.startswith(("def via", "async def via"))
]
ROOM = itertools.count()
LOAD = f"""
import sys
from types import ModuleType

def load(root):
    sys.path.insert(1, str(root / "src"))
    name = "{PROJECT_MODULE}%012x" % abs(hash(root))
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(root / "project.py")
    exec(compile((root / "project.py").read_bytes(), module.__file__, "exec"), vars(module))
    sys.path.remove(str(root / "src"))
    return vars(module)
"""
exec(LOAD)


def written(root: Path, before: str = "", after: str = "", ends: str = "\n") -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace(before, after) if before else text, newline=ends)
    return root


def loaded(root: Path) -> dict[str, Any]:
    with importing(root):
        names: dict[str, Any] = globals()["load"](root)
    return names


def digests(space: dict[str, Any], names: Iterable[str] = NAMES) -> dict[str, tuple[str, str]]:
    """By function, its digest in a view and in a step."""
    return {name: (code_digest(space[name]), step_digest(space[name])) for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    return digests(loaded(written(tmp_path_factory.mktemp("whole"))))


# What is reached through a module, and a class without methods, stand on the whole file.
HELPERS = {"via_module", "via_getattr", "via_below", "via_table", "via_colour"}
PLAIN = {"plain", "via_default", "via_partial", "via_decorator", "via_async", "via_nested"}
CHILD = {"via_base", "via_class", "via_method"}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("UNUSED = 1", "UNUSED = 2  # a comment", set()),
        ("return x + 1\n", "return x + 100\n", PLAIN | CHILD),
        ("x) + 5\n", "x) + 500\n", {"via_recursion"}),
        (") + 51", ") + 5100", HELPERS | {"via_several"}),
        ("x * 52", "x * 5200", HELPERS | {"via_several"}),
        (") * 91", ") * 9100", {"via_package"}),
        ("METRE = 92", "METRE = 9200", {"via_package", "via_alias", "via_from_import"}),
        ("x) + 81", "x) + 8100", {"via_import"}),
        ("x + 82", "x + 8200", {"via_import"}),
        ("SHINING = 83", "SHINING = 8300", {"via_star"}),
        ("x + 84", "x + 8400", {"via_star"}),
        ("x + 85", "x + 8500", {"via_try"}),
        ("x) + 93", "x) + 9300", {"via_from_import"}),
        ('"x": 50', '"x": 5000', HELPERS),
        ("x * 61", "x * 6100", HELPERS | CHILD),
        ("return 62", "return 6200", HELPERS | CHILD),
        ("RED = 63", "RED = 6300", HELPERS),
        ("FACTOR = 4", "FACTOR = 400", CHILD),
        ("return 21", "return 2100", CHILD),
        ("return 22", "return 2200", CHILD),
        ("(23)", "(2300)", CHILD),
        ("return 24", "return 2400", {"via_slots"}),
        ("LIMIT = 3", "LIMIT = 300", {"via_default", "via_decorated", "via_mode"} | CHILD),
        ('"a": 101', '"a": 1010', {"via_codes"}),
        ('["b"] = 102', '["b"] = 1020', {"via_codes"}),
        ("c=103", "c=1030", {"via_codes"}),
        ("104, 105", "104, 1050", {"via_codes"}),
        ('MODE = "fast"', 'MODE = "faster"', {"via_mode"}),
        ("adder(1)", "adder(100)", {"via_closure"}),
        ("plain, 7", "plain, 700", {"via_partial"}),
        ("x * 3]", "x * 300]", {"via_list"}),
        ("TRIPLE = 8", "TRIPLE = 800", {"via_lambda"}),
        ("x - 11", "x - 1100", {"via_cache"}),
        ("return 13", "return 1300", {"via_dispatch"}),
        ("x + 14", "x + 1400", {"via_handlers"}),
        ('SMALL = "s"', 'SMALL = "t"', {"via_enum"}),
        ("depth=10", "depth=1000", {"via_object"}),
        ('"c"}', '"d"}', {"via_values"}),
        ("> 15", "> 1500", {"via_values"}),
        ("x + 31", "x + 3100", {"via_step"}),
        ("a=32", "a=3200", {"via_view"}),
        ("flights.csv", "other.csv", set()),
        ("x + 41", "x + 4100", {"via_decorated"}),
        ("times + 72", "times + 7200", HELPERS | {"via_decorated"}),
        ("+ 71", "+ 7100", HELPERS | {"via_decorator"}),
        ("y=2", "y=200", {"via_several"}),
        ("x + 95", "x + 9500", {"via_state"}),
        ("MEMO = {}", "MEMO = dict()", {"via_state"}),
    ],
)
def test_a_change_of_what_a_function_uses_changes_its_digest_and_no_others(
    tmp_path: Path, whole: dict[str, tuple[str, str]], before: str, after: str, changed: set[str]
) -> None:
    assert any(before in text for text in FILES.values())
    space = loaded(written(tmp_path, before, after))
    assert {name for name in NAMES if code_digest(space[name]) != whole[name][0]} == changed
    some = changed | {"via_state", "plain"}
    assert {name for name in some if step_digest(space[name]) != whole[name][1]} == changed


def test_where_a_project_lies_and_how_its_lines_end_are_no_part_of_its_code(
    tmp_path: Path, whole: dict[str, tuple[str, str]]
) -> None:
    for name in ("site-packages-x", "src", ".hidden"):
        assert digests(loaded(written(tmp_path / name, ends="\r\n"))) == whole
    (tmp_path / "link").symlink_to(tmp_path / "site-packages-x", target_is_directory=True)
    assert digests(loaded(tmp_path / "link")) == whole


SEEDED = f"""
from pathlib import Path
from homeostat.domain.declarations.code import code_digest
from homeostat.engine.pipelines.keys import code_digest as step_digest
{LOAD}
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
if sys.argv[2] == "early":
    import deeper, later, slow, starred, helpers
space = load(root)
for name in sys.argv[3:]:
    print(name, code_digest(space[name]), step_digest(space[name]))
"""


@pytest.mark.parametrize(("seed", "order"), [("1", "early"), ("2", "late")])
def test_a_digest_is_the_same_in_every_process_and_order_of_imports(
    tmp_path: Path, whole: dict[str, tuple[str, str]], seed: str, order: str
) -> None:
    command = [sys.executable, "-c", SEEDED, str(written(tmp_path / "elsewhere")), order, *NAMES]
    env = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    found = (line.split() for line in done.stdout.splitlines())
    assert {name: (view, step) for name, view, step in found} == whole


def test_what_has_run_is_no_part_of_a_view(tmp_path: Path, whole: dict[str, tuple[str, str]]) -> None:
    space = loaded(written(tmp_path))
    for number in range(50):
        space["via_state"](number)
        space["remembered"](number)
        space["tripled"](number)
        assert Path(space["via_file"](number)[0]).parent == tmp_path
    assert len(space["MEMO"]) == 50
    assert {name: code_digest(space[name]) for name in NAMES} == {name: whole[name][0] for name in NAMES}


def add(number: Any, x: int) -> Any:
    return number + x


def calling(given: Any) -> Any:
    def call(x: int) -> Any:
        return given(x)

    return call


def remembering() -> Any:
    known: dict[int, int] = {}
    calls: int = 0

    def call(x: int, sizes: dict[int, int] = {}) -> int:  # noqa: B006 - what people write
        nonlocal calls
        calls += 1
        sizes.setdefault(x, calls)
        known[x] = x
        return calls

    return call


class Scaled:
    def __init__(self, by: int) -> None:
        self.by = by

    def apply(self, x: int) -> int:
        return x * self.by

    __call__ = apply


class Pair(NamedTuple):
    one: int
    other: int


LATE = pl.col("delay") > 15
DIFFERENT: list[tuple[Any, Any]] = [
    (partial(add, 1), partial(add, 2)),
    (partial(add, number=1), partial(add, number=2)),
    (calling, add),
    (1, True),
    ("1", 1),
    (frozenset({"a", "b"}), frozenset({"a", "c"})),
    (["a"], ["b"]),
    ({"a": [add]}, {"a": [calling]}),
    (lambda x: x + 1, lambda x: x + 2),
    (len, max),
]
OF_VIEWS: list[tuple[Any, Any]] = [
    (Scaled(2).apply, Scaled(3).apply),
    (Scaled(2), Scaled(3)),
    (Pair(1, 2), Pair(1, 3)),
    (LATE, pl.col("delay") > 16),
    (np.int64(1), np.int64(2)),
    (np.float32(1), np.float64(1)),
    ((np.datetime64("2026-01-01"),), (np.datetime64("2026-01-02"),)),
    (pl.Datetime("us"), pl.Datetime("ms")),
    (range(3), range(4)),
    (time(3), time(4)),
    (Decimal("1.1"), Decimal("1.2")),
    (re.compile("a"), re.compile("a", re.IGNORECASE)),
    (pl.col("a").is_in(["a"] * 30), pl.col("a").is_in(["a"] * 20 + ["b"] * 10)),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT + OF_VIEWS)
def test_closures_are_told_apart_by_what_they_close_over(one: Any, other: Any) -> None:
    assert code_digest(calling(one)) == code_digest(calling(one))
    assert code_digest(calling(one)) != code_digest(calling(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_steps_are_told_apart_by_what_they_close_over(one: Any, other: Any) -> None:
    assert step_digest(calling(one)) != step_digest(calling(other))


def test_a_table_is_part_of_a_step_by_value_and_of_a_view_by_what_makes_it(tmp_path: Path) -> None:
    text = "import polars as pl\nfrom pathlib import Path\nTABLE = pl.read_csv(Path(__file__).with_name('t.csv'))\n"
    found = []
    for cell in ("1", "2"):
        (tmp_path / "tables.py").write_text(text)
        (tmp_path / "t.csv").write_text(f"a\n{cell}\n")
        (tmp_path / "project.py").write_text(
            "import tables\nfrom tables import TABLE\n"
            "def one(x): return tables.TABLE['a'][0]\ndef two(x): return TABLE['a'][0]\n"
        )
        found.append(digests(loaded(tmp_path), ["one", "two"]))
    for name in ("one", "two"):
        assert found[0][name][0] == found[1][name][0]
        assert found[0][name][1] != found[1][name][1]


def test_what_closures_and_defaults_remember_is_no_part_of_a_view() -> None:
    function = remembering()
    before = code_digest(function)
    assert [function(one) for one in "abc"] == [1, 2, 3]
    assert code_digest(function) == before == code_digest(remembering())


def test_a_step_that_closes_over_what_has_no_content_is_refused_and_a_view_is_not() -> None:
    for given, kind in ((threading.Lock(), "lock"), ([threading.Lock()], "lock"), (Scaled(2), "Scaled")):
        with pytest.raises(NotKept, match=f"'given', which it closes over, is a {kind}"):
            step_digest(calling(given))
        assert code_digest(calling(given)) == code_digest(calling(given))
    with pytest.raises(NoDigest):
        code_digest(calling(threading.Lock()), lambda value: None)


def test_cycles_end() -> None:
    ring: list[Any] = [add]
    ring.append(ring)
    ring.append(calling(ring))
    assert code_digest(ring[2]) == code_digest(ring[2])


CELLS = """
def scaled(x):
    return x * FACTOR
either = [lambda x: x + 1, lambda x: x + 2]
"""


def test_what_has_no_file_has_a_digest_of_its_code_and_of_what_it_uses() -> None:
    def made(factor: int, name: str = "<cell>") -> dict[str, Any]:
        space: dict[str, Any] = {"__name__": "__main__", "FACTOR": factor}
        exec(compile(CELLS, name, "exec"), space)
        return space

    one, again, other = made(2), made(2, ""), made(3, "/nowhere/x.py")
    assert code_digest(one["scaled"]) == code_digest(again["scaled"]) != code_digest(other["scaled"])
    assert code_digest(one["either"][0]) != code_digest(one["either"][1])
    assert code_digest(len) != code_digest(max)
    assert code_digest(Scaled(2)) != code_digest(Scaled(3))


def test_long_chains_of_calls_and_terms_are_no_matter(tmp_path: Path) -> None:
    chain = "".join(f"def f{n}(x): return f{n + 1}(x)\n" for n in range(600))
    many = " + ".join(f"x * {n}" for n in range(1500))
    found = []
    for last in (1, 2):
        (tmp_path / "project.py").write_text(f"{chain}def f600(x): return {many} * {last}\n")
        found.append(code_digest(loaded(tmp_path)["f0"]))
    assert found[0] != found[1]


def test_a_function_of_a_library_is_its_text_and_is_followed_no_further() -> None:
    assert code_digest(pl.LazyFrame.drop_nulls) != code_digest(pl.LazyFrame.drop_nans)
    assert code_digest(statistics.mean) != code_digest(statistics.median)


LIBRARY = """
import functools

def retried(times):
    def decorate(function):
        calls = 0
        @functools.wraps(function)
        def call(rows):
            nonlocal calls
            calls += 1
            return function(rows)
        return call
    return decorate

def first(count):
    def take(rows):
        return rows[:count]
    return take

def both(one, other):
    return lambda rows: other(one(rows))
"""


def test_a_function_that_a_library_made_is_told_by_what_it_was_given(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "made_elsewhere.py").write_text(LIBRARY)
    sys.path.insert(0, str(installed))
    found = []
    try:
        for number, folder in (("1", "a"), ("1", "b"), ("2", "a")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "project.py").write_text(
                "from made_elsewhere import both, first, retried\n"
                f"def own(rows): return rows[:{number}]\n"
                "@retried(3)\ndef decorated(rows): return own(rows)\n"
                f"of_plain, of_own = first({number}), both(own, len)\n"
            )
            space = loaded(tmp_path / folder)
            names = ["decorated", "of_plain", "of_own"]
            before = {name: code_digest(space[name]) for name in names}
            assert [len(space["decorated"]([1, 2, 3])), space["of_own"]([1, 2, 3])] == [int(number)] * 2
            assert {name: code_digest(space[name]) for name in names} == before
            found.append(before)
    finally:
        sys.path.remove(str(installed))
        sys.modules.pop("made_elsewhere", None)
    assert found[0] == found[1]
    assert not found[0].items() & found[2].items()
