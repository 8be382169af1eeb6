"""Runs the commands of the documents' figures, and keeps what they draw and print.

Each block runs in an empty folder that has only what the documents say is there: `out/demo`, the index of
the demo data, and `cat.jpg`, the demo's photograph of a cat. What a block made is kept until its text, the
index or the golden pictures of the tests change: these change when the pictures of any command do.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from docs.site.blocks import ROOT, Asked, asked_in_documents, commands_of
from docs.site.records import Drawn, Picture, Record, pictures_folder, read_record, write_record

__all__ = ["INDEX", "SHEET_WIDTH", "make_figures", "run_command"]

INDEX = "maxact index demo --out out/demo"
"""What a reader has done before any block of a page with figures."""

GOLDEN = ROOT / "tests/golden"

QUALITY = 90
"""Of the WebP files."""

SHEET_WIDTH = 1600
"""Sheets wider than this are reduced to it, in pixels."""


def make_figures(work: Path) -> list[str]:
    """Make every figure and output that is not up to date.

    Args:
        work: folder in which the index of the demo data is kept.

    Returns:
        The names of those that were made.

    Raises:
        RuntimeError: if a command fails, with what it printed.
    """
    folder = pictures_folder()
    folder.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    _prepare(work)
    fingerprint = json.loads((work / "out/demo/run.json").read_text(encoding="utf-8"))["fingerprint"]
    made = []
    for asked in asked_in_documents():
        key = _key(asked, fingerprint)
        record = read_record(folder, asked.name)
        if record is None or record.key != key:
            print(f"docs: making {asked.name}", file=sys.stderr, flush=True)
            write_record(folder, asked.name, _make(asked, key, work, folder))
            made.append(asked.name)
    return made


def _prepare(work: Path) -> None:
    """Index the demo data, unless that was done, and write the photograph of a cat."""
    for command in commands_of(INDEX):
        run_command(command, work)
    photograph = work / "cat.jpg"
    if not photograph.exists():
        from skimage.data import chelsea

        Image.fromarray(chelsea()).save(photograph, quality=95)


def _key(asked: Asked, fingerprint: str) -> str:
    """Hash of what decides a block's pictures."""
    digest = hashlib.sha256(f"{asked.kind}\n{asked.block}\n{fingerprint}\n".encode())
    for path in (*sorted(GOLDEN.iterdir()), Path(__file__)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _make(asked: Asked, key: str, work: Path, folder: Path) -> Record:
    """Run a block in a copy of the working folder, and keep what it drew."""
    for old in folder.glob(f"{asked.name}-[0-9]*.webp"):
        old.unlink()
    drawn = []
    with tempfile.TemporaryDirectory(dir=work) as name:
        scratch = Path(name)
        shutil.copytree(work / "out", scratch / "out")
        shutil.copy(work / "cat.jpg", scratch)
        for row, command in enumerate(commands_of(asked.block)):
            seconds, printed = run_command(command, scratch)
            files = [scratch / line for line in printed.splitlines() if line.endswith(".png")]
            pictures = [
                _keep(file, folder / f"{asked.name}-{row}-{column}.webp", scratch)
                for column, file in enumerate(files)
            ]
            drawn.append(Drawn(tuple(command), round(seconds, 1), printed, tuple(pictures)))
    return Record(key, tuple(drawn))


def run_command(command: list[str], folder: Path) -> tuple[float, str]:
    """Run one command of maxact in a folder; returns its processor time in seconds, and what it printed."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "viz/public"))),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    environment["MAXACT_CACHE"] = os.environ.get("MAXACT_CACHE") or str(ROOT / "out/cache")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "maxact", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"maxact {' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, done.stdout


def _keep(file: Path, target: Path, scratch: Path) -> Picture:
    """Write a picture that a command drew as WebP, with what the index says of it."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    row = _row(file, scratch)
    if row is not None:
        left, top, right, bottom = row[3:]
        picture = picture.crop(
            (
                max(0, round(left)),
                max(0, round(top)),
                min(picture.width, round(right)),
                min(picture.height, round(bottom)),
            )
        )
    if picture.width > SHEET_WIDTH:
        height = round(picture.height * SHEET_WIDTH / picture.width)
        picture = picture.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS)
    picture.save(target, quality=QUALITY, method=6)
    if row is None:
        return Picture(target.name, *picture.size)
    unit, ratio, status = row[:3]
    return Picture(target.name, *picture.size, unit=unit, ratio=ratio, status=status)


def _row(file: Path, scratch: Path) -> tuple | None:
    """Unit, ratio, status and box of a rendering; None for another picture."""
    if "renders" not in file.parts:
        return None
    from maxact import open_index

    out = scratch / "out/demo"
    with open_index(out) as index:
        found = index.sql(
            "SELECT unit, ratio, status, box_left, box_top, box_right, box_bottom FROM renders "
            f"WHERE file = '{file.relative_to(out)}'"
        ).rows
    return tuple(found[0]) if found else None
