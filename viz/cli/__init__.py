"""The command line of `viz`: the commands that draw, explain and serve.

Imports: atlas, choices, priors, projections, recipes, render, robust, server, sheets, study.
"""

from viz.cli.app import app, main

__all__ = ["app", "main"]
