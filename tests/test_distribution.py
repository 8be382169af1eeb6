"""The source distribution and the wheel have everything that an installed maxact needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "pipeline": "pipeline",
    "viz": "viz",
    "maxact": "viz/public/maxact",
    "pipeline/queries": "queries",
}
"""Folder of the wheel to folder of the repository."""
NOT_INSTALLED = (ROOT / "viz/atlas/web", ROOT / "viz/public")
"""The source of the atlas' script, and the folder that is installed under another name."""
NOT_DISTRIBUTED = {".git", ".venv", ".venv-peers", "out", "build", "dist", "node_modules"}

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


def _build(kind: str, source: Path, folder: Path) -> Path:
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True
    )
    return folder / made.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The unpacked source distribution of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("distribution")

    def omit(path: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name in NOT_DISTRIBUTED or name.startswith((".mypy", ".pytest", ".ruff"))
        }

    shutil.copytree(ROOT, folder / "copy", ignore=omit)
    with tarfile.open(_build("sdist", folder / "copy", folder)) as archive:
        # Python 3.11.0 to 3.11.3 have no filters.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "sdist", **safely)
    (unpacked,) = (folder / "sdist").iterdir()
    yield unpacked
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """The wheel that is built from the source distribution."""
    return _build("wheel", source, source.parent)


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder of installed packages, with the wheel in it."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (folder.startswith("viz/public") or not any(path.is_relative_to(out) for out in NOT_INSTALLED))
    }
    assert len(wanted) > 400
    assert wanted - names == set()


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"maxact", "pipeline", "viz"}


def test_the_licences_of_what_is_bundled_are_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())
        files = [name.partition("/licenses/")[2] for name in archive.namelist() if "/licenses/" in name]
    assert metadata["License-Expression"] == "Apache-2.0 AND OFL-1.1 AND LicenseRef-WordNet"
    found = (path for folder in ("viz", "pipeline") for path in (ROOT / folder).rglob("*LICENSE*"))
    bundled = {path.relative_to(ROOT).as_posix() for path in found if "node_modules" not in path.parts}
    assert set(files) == {"LICENSE", *bundled}
    assert {"Author", "Summary", "Requires-Python", "Keywords"} <= set(metadata.keys())


def test_the_source_distribution_has_what_the_tests_need(source: Path) -> None:
    for name in (
        "Makefile",
        "constraints.txt",
        "tests/fixtures/tiny.py",
        "docs/tables.md",
        "bench/README.md",
        "examples/first_unit.py",
    ):
        assert (source / name).is_file(), name
    assert not list(source.rglob("node_modules"))
    assert not list(source.rglob("*.pyc"))


def test_what_is_installed_indexes_renders_and_draws_elsewhere(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PYTHONSAFEPATH": "1",
        "MAXACT_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def maxact(*words: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "maxact", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import maxact, pipeline, viz; print(maxact.__file__, pipeline.__file__, viz.__file__)",
        ],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.count(str(installed)) == 3
    maxact("index", "demo", "--out", "demo", "--layers", "blocks.1.1", "--top", "16")
    assert maxact("query", "demo", "layer_overview", "--csv").startswith("layer")
    maxact("render", "demo", "--units", "0,1", "--steps", "2")
    maxact("sheets", "demo", "--units", "0,1")
    maxact("atlas", "demo", "--units", "0,1")
    assert (tmp_path / "demo/atlas/index.html").is_file()
    assert list((tmp_path / "demo/sheets").rglob("*.png"))
