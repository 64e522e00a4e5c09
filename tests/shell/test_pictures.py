"""The pictures in docs/ show what the shell does."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tests.documents import PAGES
from tests.shell.pictures import FOLDER, SCENES, make_shop, record

QUICK = ("tour", "mistakes")
TIME = re.compile(r"\d+(\.\d+)?\xa0(ms|s)\b")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    make_shop(folder / "shop")
    return folder


def shown(svg: str) -> list[str]:
    """The texts of a picture, without the times in them."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    return [TIME.sub("TIME", html.unescape(text)) for text in texts]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SCENES])
def test_picture_is_what_the_shell_shows(name: str, home: Path) -> None:
    committed = shown((FOLDER / f"{name}.svg").read_text(encoding="utf-8"))
    assert shown(record(name, home)) == committed, "`make pictures` records them anew"


def test_every_picture_is_on_a_page() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert sorted(path.name for path in FOLDER.glob("*.svg")) == sorted(f"{name}.svg" for name in SCENES)
    assert [name for name in SCENES if f"pictures/{name}.svg" not in text] == []
