"""The README holds: its path runs as it is written, and what it counts is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.walk import README, ROOT, Walk, code, plain


def test_a_script_becomes_a_project_in_ten_lines() -> None:
    before, after = code("train.py").splitlines(), code("project.py").splitlines()
    added = [line for line in after if line.strip() and line not in before]
    assert len(added) == 10, added


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ten_minute_path_answers_as_written(tmp_path: Path) -> None:
    with Walk(tmp_path) as walk:
        for step, answer in walk.go():
            assert plain(answer) == plain(step.expected), f"$ {step.command}\n{answer}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md"])
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", file.read_text("utf-8"))
    for target in (one or other for one, other in links):
        if not target.startswith("http"):
            assert (file.parent / target).exists(), f"{page} links {target}"


def test_the_picture_is_shown() -> None:
    assert "docs/loop.svg" in README.read_text("utf-8")


def test_the_map_names_what_is_there() -> None:
    """Every module that the architecture page names exists."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for name in set(re.findall(r"`((?:domain|ports|engine|adapters|app|server|cli|sdk)/[\w/]+\.py)`", page)):
        assert (ROOT / "src" / "homeostat" / name).is_file(), name
