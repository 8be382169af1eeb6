"""Packages of the wheel: found by themselves, and folders that are installed under another name."""

from setuptools import find_packages, setup

MAPPED = {"maxact": "viz/public/maxact", "pipeline.queries": "queries"}
"""Installed name to folder of the repository."""

setup(
    packages=[*find_packages(include=["pipeline", "pipeline.*", "viz", "viz.*"]), *MAPPED],
    package_dir=MAPPED,
)
