"""Writes the source of the site: the documents with their figures, and the reference from the code.

The folder has the layout of the repository, so that links between documents work as they are.
"""

from __future__ import annotations

import html
import os
import re
import shutil
from pathlib import Path

from docs.site.blocks import ANY, DOCS, ROOT
from docs.site.records import Drawn, Picture, pictures_folder, read_record
from docs.site.reference import command_line_page, python_page
from docs.site.truth import MARK, read_truth, truth_table

__all__ = ["stage"]

LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")

PICTURES = "docs/pictures"
"""Where the figures are, in the site."""


def stage(folder: Path) -> None:
    """Write all pages.

    Args:
        folder: emptied before.

    Raises:
        FileNotFoundError: when a figure was not made, or a link leads nowhere.
    """
    shutil.rmtree(folder, ignore_errors=True)
    documents = [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "bench").glob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
    for path in documents:
        text = path.read_text(encoding="utf-8")
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_with_figures(text, path), encoding="utf-8")
        _copy_linked(text, path, folder)
    shutil.copytree(pictures_folder(), folder / PICTURES, ignore=shutil.ignore_patterns("*.json", "*.tmp"))
    for name in ("site.css", "iframe-worker.js"):
        shutil.copyfile(Path(__file__).parent / name, folder / "docs" / name)
    for name, text in (("command-line-help", command_line_page()), ("python", python_page())):
        (folder / f"docs/{name}.md").write_text(text, encoding="utf-8")


def _copy_linked(text: str, path: Path, folder: Path) -> None:
    """Copy pictures, queries and other files that a document links to."""
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        source = (path.parent / target).resolve()
        if source.suffix == ".md" or source.is_dir():
            continue
        place = folder / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)


def _with_figures(text: str, path: Path) -> str:
    """The text with figures, outputs and tables in the place of the comments that ask for them."""

    def drawn(found: re.Match[str]) -> str:
        record = read_record(pictures_folder(), found["name"])
        if record is None:
            raise FileNotFoundError(f"{path}: figure {found['name']} was not made; run python -m docs.site")
        block = f"```sh\n{found['block']}```\n\n"
        if found["kind"] == "output":
            printed = "\n".join(each.printed.rstrip() for each in record.drawn)
            return f"{block}```text\n{printed.strip(chr(10))}\n```"
        caption = " ".join((found["caption"] or "").split())
        return block + _figure(record.drawn, caption, path)

    return MARK.sub(lambda found: truth_table(read_truth(), found["recipe"]), ANY.sub(drawn, text))


def _figure(drawn: tuple[Drawn, ...], caption: str, path: Path) -> str:
    """HTML of a figure: a row of pictures for each command, and what it took."""
    prefix = os.path.relpath(ROOT / PICTURES, path.parent)
    rows = "".join(
        f'<div class="pictures">{"".join(_picture(picture, prefix) for picture in each.pictures)}</div>'
        for each in drawn
        if each.pictures
    )
    seconds = sum(each.seconds for each in drawn)
    words = f"{html.escape(caption)} {seconds:.0f} s of processor time."
    return f"<figure>{rows}<figcaption>{words}</figcaption></figure>"


def _picture(picture: Picture, prefix: str) -> str:
    said = []
    if picture.unit is not None:
        said.append(f"unit {picture.unit}")
    if picture.ratio is not None:
        said.append(f"{picture.ratio:.2f}")
    if picture.status not in (None, "ok"):
        said.append(str(picture.status))
    words = html.escape(", ".join(said) or "a sheet")
    # MkDocs moves only links that it knows; these are relative to the page, whose place stays the same.
    return (
        f'<span><img src="{prefix}/{picture.file}" width="{picture.width}" height="{picture.height}" '
        f'alt="{words}" loading="lazy">{words if said else ""}</span>'
    )
