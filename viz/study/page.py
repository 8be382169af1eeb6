"""Write the page of a study: one HTML file that asks nothing from anywhere.

A content security policy forbids every request, scripts other than the page's own, and forms.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.errors import UsageError
from pipeline.store.files import atomic_path, make_folder

__all__ = ["PAGE", "refuse_folder", "write_page"]

PAGE = "index.html"

MARK = '<meta name="generator" content="maxact study">'
"""In the first lines of every page, so that no other file is replaced."""


def refuse_folder(folder: Path, out: Path) -> None:
    """Refuse a folder for a study that is no folder, lies in an index, or has a page of something else.

    Args:
        folder: to write the page into.
        out: the index.

    Raises:
        UsageError: names it.
    """
    if folder.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{folder} lies in the index; give a folder outside of {out}")
    try:
        there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        if not there.is_dir():
            raise UsageError(f"{there} is not a folder; give the name of a new one")
        page = folder / PAGE
        if not page.exists():
            return
        with page.open("rb") as file:
            if MARK.encode() not in file.read(1024):
                raise UsageError(
                    f"{page} is not a study of maxact and would be replaced; give another folder"
                )
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be used: {error.strerror or error}; give another folder"
        ) from error


def write_page(folder: Path, study: Mapping[str, Any]) -> Path:
    """Write a study into a folder, which is created if it does not exist.

    Args:
        folder: for the page.
        study: from `viz.study.content.encode_study`.

    Raises:
        StoreError: if the page cannot be written.
    """
    make_folder(folder)
    page = folder / PAGE
    text = _page_text(study)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def _page_text(study: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("viz.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_static(name) for name in ("study.css", "study.js"))
    return environment.get_template("study.html").render(
        mark=Markup(MARK),
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        data=Markup(_script_json(study)),
    )


def _static(name: str) -> str:
    return (resources.files("viz.study") / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _script_json(value: Mapping[str, Any]) -> str:
    """JSON that is the content of a script element whatever text it holds: ASCII, and without `<`."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
