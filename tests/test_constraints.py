"""The lock that the Makefile installs suits every Python that pyproject.toml allows."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def _locked() -> dict[str, str]:
    """Versions by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _lowest_python() -> str:
    """The lowest release of Python that may be used, such as 3.11.0."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (lowest,) = re.findall(r">=\s*([\d.]+)", required)
    return f"{lowest}.0" if lowest.count(".") == 1 else lowest


def _installed(name: str, version: str) -> importlib.metadata.PackageMetadata:
    try:
        found = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    if found["Version"].partition("+")[0] != version.partition("+")[0]:
        pytest.skip(f"{name} is installed as {found['Version']}")
    return found


@pytest.mark.parametrize(("name", "version"), sorted(_locked().items()))
def test_a_locked_package_suits_the_lowest_python(name: str, version: str) -> None:
    wanted = _installed(name, version)["Requires-Python"]
    assert SpecifierSet(wanted or "").contains(_lowest_python()), f"{name} {version} needs Python {wanted}"
