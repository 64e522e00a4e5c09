"""docs/ as a site: README.md is its front page, and links to the source, which is no part of it, are text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+://|#)([^)\s#]+)(#[^)\s]+)?\)")
DOCS = re.compile(r"\]\(docs/")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds README.md as index.md."""
    text = DOCS.sub("](", (ROOT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, files: Files, **_: Any) -> str:
    """Takes the links to files of the repository that are not in docs/ out of a page.

    Only to files that are there: a link that leads nowhere stays, for `--strict` to refuse.
    """

    def text_or_link(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        outside = files.get_file_from_path(target) is None and any((ROOT / base / target).exists() for base in ("", "docs"))
        return text if outside else link[0]

    return LINK.sub(text_or_link, markdown)
