"""The commands of `viz`, added to the one app of `pipeline.cli.app`."""

from __future__ import annotations

from pipeline.cli.app import app, main
from viz.cli import browsing, drawing, explaining, studying, training

__all__ = ["app", "main"]

for module in (drawing, browsing, explaining, studying, training):
    module.register(app)
