"""`make docs` builds a site of all pages, which fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import PAGES, README, ROOT

FETCHED = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//', re.IGNORECASE)


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site as `make docs` does, in another folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_its_navigation(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "One SQL endpoint for the 1 ms query and the 1 h query" in front
    for path in PAGES:
        name = "index.html" if path == README else f"{path.stem}.html"
        assert (site / name).exists()
        assert f'href="{name}"' in front or path == README


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        assert FETCHED.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_links_to_the_source_are_text_and_those_to_pages_are_links(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "planner/parse.py" not in front
    assert '<a href="architecture.html">' in front


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Front\n\n[gone](docs/gone.md)\n")
    (tmp_path / "docs" / "site_hooks.py").write_text((ROOT / "docs" / "site_hooks.py").read_text())
    text = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(text.split("\nnav:")[0] + "\nnav:\n  - Home: index.md\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert "gone.md" in done.stderr
