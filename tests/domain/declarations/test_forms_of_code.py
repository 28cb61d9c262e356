"""However a function reaches what it uses, an edit of that is another digest, in views and in steps."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import Any

import pytest

from homeostat.app.projects import importing
from homeostat.domain.declarations.code import code_digest
from homeostat.engine.pipelines.keys import code_digest as step_digest

DECORATOR = """
import functools
def deco(g):
    @functools.wraps(g)
    def call(*a): return g(*a) + 5
    return call
"""
# A project, whose function is f, and edits that change what it does.
CHANGED: dict[str, tuple[dict[str, str] | str, list[tuple[str, str]]]] = {
    "nested class": (
        "class A:\n class B:\n  def m(self): return h()\ndef h(): return 1\ndef f(x): return A.B().m()\n",
        [("return 1", "return 2")],
    ),
    "decorated method": (
        {
            "project.py": "from helpers import deco\nclass A:\n @deco\n def m(self): return h()\n"
            "def h(): return 1\ndef f(x): return A().m()\n",
            "helpers.py": DECORATOR,
        },
        [("return 1", "return 2"), ("+ 5", "+ 6")],
    ),
    "lambda of a class": (
        "class A:\n m = lambda self: h()\ndef h(): return 1\ndef f(x): return A().m()\n",
        [("return 1", "return 2")],
    ),
    "method that is said to wrap one of C": (
        "import functools\nclass A:\n m = functools.wraps(len)(lambda self: h())\ndef h(): return 1\n"
        "def f(x): return A().m()\n",
        [("return 1", "return 2")],
    ),
    "methods by type": (
        "import functools\ndef h(): return 1\nclass A:\n @functools.singledispatchmethod\n def m(self, x): return 0\n"
        " @m.register\n def _(self, x: int): return h()\n @m.register\n def _(self, x: str): return 3\n"
        "def f(x): return A().m(x)\n",
        [("return 1", "return 2"), ("return 3", "return 4")],
    ),
    "partial method": (
        "import functools\ndef h(): return 1\nclass A:\n def g(self, y): return h()\n"
        " m = functools.partialmethod(g, 3)\ndef f(x): return A().m()\n",
        [("return 1", "return 2"), ("g, 3", "g, 4")],
    ),
    "folder without __init__": (
        {
            "project.py": "import feats.weather\ndef f(x): return feats.weather.clean(x)\n",
            "feats/weather.py": "from feats import deep\ndef clean(x): return deep.k(x) + 1\n",
            "feats/deep.py": "def k(x): return 3\n",
        },
        [("+ 1", "+ 2"), ("return 3", "return 4")],
    ),
    "given on by a package": (
        {
            "project.py": "from pkg import clean, CODES\ndef f(x): return clean(x) + CODES[x]\n",
            "pkg/__init__.py": "from .a import *\nfrom .b import CODES\n",
            "pkg/a.py": "def clean(x): return x + 1\n",
            "pkg/b.py": "CODES = {1: 2}\n",
        },
        [("x + 1", "x + 2"), ("1: 2", "1: 3")],
    ),
    "late relative imports": (
        {
            "project.py": "from pkg.a import f\n",
            "pkg/__init__.py": "",
            "pkg/a.py": "def f(x):\n from . import b\n from .sub.c import q\n return b.z + q\n",
            "pkg/b.py": "z = 1\n",
            "pkg/sub/c.py": "q = 3\n",
        },
        [("z = 1", "z = 2"), ("q = 3", "q = 4")],
    ),
    "imported by its name": (
        {
            "project.py": "import importlib\nh = importlib.import_module('helpers')\ndef f(x): return h.z(x)\n",
            "helpers.py": "def z(x): return 1\n",
        },
        [("return 1", "return 2")],
    ),
    "metaclass and subclass hook": (
        "class M(type):\n def __call__(cls): return h()\ndef h(): return 1\nclass B(metaclass=M):\n"
        " def __init_subclass__(cls, **k): cls.z = i()\ndef i(): return 3\nclass A(B, k=5): pass\n"
        "def f(x): return A()\n",
        [("return 1", "return 2"), ("return 3", "return 4"), ("k=5", "k=6")],
    ),
    "dataclass": (
        "from dataclasses import dataclass, field\n@dataclass(slots=True)\nclass S:\n a: int = 1\n"
        " b: list = field(default_factory=lambda: [h()])\ndef h(): return 4\ndef f(x): return S().b\n",
        [("int = 1", "int = 2"), ("return 4", "return 5")],
    ),
    "lambdas of a loop": (
        "from functools import partial\nfs = []\nfor k in (1, 2):\n fs.append(lambda x, k=k: x * k)\n"
        "f = partial(fs[1])\n",
        [("(1, 2)", "(1, 3)"), ("x * k", "x + k")],
    ),
    "what other statements are made of": (
        "A = [1, 2]\nB = [a * 2 for a in A]\ndel A\nC, (D, *E) = 1, B\n__F = E\ndef f(x): return __F\n",
        [("[1, 2]", "[1, 3]"), ("a * 2", "a * 3")],
    ),
    "assigned in other statements": (
        "import io\nif (N := 3) > 2:\n pass\nwith io.StringIO('t') as file:\n T = file.read()\nN += 7\n"
        "def f(x): return N, T\n",
        [(":= 3", ":= 4"), ("'t'", "'u'"), ("+= 7", "+= 8")],
    ),
    "set by a function": (
        "S = 0\ndef begin():\n global S\n S = 5\nbegin()\ndef f(x): return S\n",
        [("S = 5", "S = 6")],
    ),
    "attribute of a function": (
        "def k(x): return k.v\nk.v = 3\ndef f(x): return k(x)\n",
        [("v = 3", "v = 4")],
    ),
    "object that a class made of a function": (
        "class Memo:\n def __init__(self, g): self.g = g\n def __call__(self, x): return self.g(x) + 1\n"
        "@Memo\ndef k(x): return h()\ndef h(): return 5\ndef f(x): return k(x)\n",
        [("return 5", "return 6"), ("+ 1", "+ 2")],
    ),
    "several decorators": (
        {
            "project.py": "import functools\nfrom helpers import deco\n@functools.lru_cache\n@deco\n"
            "@functools.lru_cache(None)\ndef k(x): return 7\ndef f(x): return k(x)\n",
            "helpers.py": DECORATOR,
        },
        [("return 7", "return 8"), ("+ 5", "+ 6")],
    ),
    "context manager": (
        "import contextlib\ndef h(): return 1\n@contextlib.contextmanager\ndef c(): yield h()\n"
        "def f(x):\n with c() as v: return v\n",
        [("return 1", "return 2")],
    ),
    "class of a function": (
        "def make(n):\n class K:\n  def m(self): return n\n return K\nA = make(1)\ndef f(x): return A().m()\n",
        [("make(1)", "make(2)")],
    ),
    "class without a text": (
        "A = type('A', (), {'m': lambda self: h(), 'K': 3})\ndef h(): return 1\ndef f(x): return A().m()\n",
        [("return 1", "return 2"), ("'K': 3", "'K': 4")],
    ),
    "defined under a condition": (
        "FAST = True\nif FAST:\n def k(x): return 1\nelse:\n def k(x): return 2\ndef f(x): return k(x)\n",
        [("return 1", "return 3"), ("= True", "= False")],
    ),
    "registered in an object": (
        "class R:\n def __init__(self): self.d = {}\n def add(self, g): self.d[g.__name__] = g; return g\n"
        "r = R()\n@r.add\ndef one(x): return h()\ndef h(): return 1\ndef f(x): return r.d['one'](x)\n",
        [("return 1", "return 2")],
    ),
    "registered by a call": (
        "H = {}\ndef one(x): return h()\ndef h(): return 3\ndef reg(n, g): H[n] = g\nreg('a', one)\n"
        "def f(x): return H['a'](x)\n",
        [("return 3", "return 4")],
    ),
    "attribute of a module": (
        {
            "project.py": "import helpers\nhelpers.LIMIT = 5\nhelpers.begin(7)\ndef f(x): return helpers.LIMIT\n",
            "helpers.py": "def begin(x): pass\n",
        },
        [("= 5", "= 6"), ("(7)", "(8)")],
    ),
    "set by what has no text": ("globals()['Q'] = 5\ndef f(x): return Q\n", [("= 5", "= 6")]),
}


def function(root: Path, files: dict[str, str] | str, before: str = "", after: str = "") -> Any:
    """The function f of a project in which one text is replaced by another."""
    for name, text in ({"project.py": files} if isinstance(files, str) else files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace(before, after) if before else text)
    with importing(root):
        file = root / "project.py"
        module = sys.modules["project"] = type(sys)("project")
        module.__file__ = str(file)
        exec(compile(file.read_text(), str(file), "exec", dont_inherit=True), vars(module))
    return vars(module)["f"]


@pytest.mark.parametrize("form", CHANGED)
def test_an_edit_of_what_is_used_is_another_digest(tmp_path: Path, form: str) -> None:
    files, edits = CHANGED[form]
    before = function(tmp_path / "before", files)
    for number, (text, other) in enumerate(edits):
        after = function(tmp_path / str(number), files, text, other)
        assert code_digest(after) != code_digest(before), text
        assert step_digest(after) != step_digest(before), text
    again = function(tmp_path / "again", files, "def f", "# by hand\ndef f")
    assert code_digest(again) == code_digest(before)
    assert step_digest(again) == step_digest(before)


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("def rows(x): return 1\ndef f(x):\n rows = [x]\n return rows\n", "return 1", "return 2"),
        ("def select(x): return 1\ndef f(x): return x.select(2)\n", "return 1", "return 2"),
        ("LIMIT = 1\ndef f(x): return x + 1  # not LIMIT\n", "LIMIT = 1", "LIMIT = 2"),
        (
            "class A:\n def m(self): return 1\nclass B:\n def m(self): return 3\ndef f(x): return A()\n",
            "3",
            "4",
        ),
    ],
)
def test_an_edit_of_what_only_has_the_same_name_is_none(
    tmp_path: Path, text: str, before: str, after: str
) -> None:
    files = {"project.py": text, "helpers.py": DECORATOR}
    one, other = function(tmp_path / "a", files), function(tmp_path / "b", files, before, after)
    assert code_digest(one) == code_digest(other)
    assert step_digest(one) == step_digest(other)


def test_of_a_cell_of_a_notebook_the_text_counts_not_its_number_and_comments() -> None:
    def cell(number: int, text: str) -> Any:
        name = f"<cell-{number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        space: dict[str, Any] = {"__name__": "__main__", "FACTOR": 2}
        exec(compile(text, name, "exec"), space)
        return space["f"]

    first = cell(1, "def f(x):\n    return x * FACTOR\n")
    again = cell(2, "# better\n\ndef f(x):\n    return x *  FACTOR\n")
    other = cell(3, "def f(x):\n    return x + FACTOR\n")
    assert code_digest(first) == code_digest(again) != code_digest(other)
