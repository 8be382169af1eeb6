"""What the commands of one figure drew and printed, as JSON beside its pictures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from docs.site.blocks import ROOT

__all__ = ["Drawn", "Picture", "Record", "pictures_folder", "read_record", "write_record"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Args:
        file: its name in the folder of pictures.
        width, height: in pixels.
        unit: that it was rendered for; None for a sheet.
        ratio: its activation over that of the best real image, where that is positive.
        status: of the rendering.
    """

    file: str
    width: int
    height: int
    unit: int | None = None
    ratio: float | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one command did.

    Args:
        command: its words after `maxact`.
        seconds: of processor time.
        printed: on standard output.
        pictures: that it drew.
    """

    command: tuple[str, ...]
    seconds: float
    printed: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What a block did.

    Args:
        key: hash of everything that decides it.
        drawn: for each command.
    """

    key: str
    drawn: tuple[Drawn, ...]


def pictures_folder() -> Path:
    """Where pictures and records are: MAXACT_DOCS_PICTURES, or out/docs-pictures."""
    return Path(os.environ.get("MAXACT_DOCS_PICTURES") or ROOT / "out/docs-pictures")


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a figure; None if it was not made."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8"))
    drawn = (
        Drawn(
            tuple(each["command"]),
            each["seconds"],
            each["printed"],
            tuple(Picture(**picture) for picture in each["pictures"]),
        )
        for each in value["drawn"]
    )
    return Record(value["key"], tuple(drawn))


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write the record of a figure, atomically."""
    path = folder / f"{name}.json"
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    fresh.replace(path)
