"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "installed_version"]


def installed_version() -> str | None:
    """The version that is installed; None in a checkout that is not."""
    try:
        return version("maxact")
    except PackageNotFoundError:
        return None


__version__ = installed_version() or "unknown"
