"""The words that options of drawing take, each declared once."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["RULES", "Match", "Paper", "Relevance", "ReluRule", "Source"]

ReluRule = Literal["plain", "leaky", "redirected", "deconvnet", "guided"]
"""What every ReLU does in a forward and backward pass; see `viz.passes.relu`."""

RULES: tuple[ReluRule, ...] = get_args(ReluRule)
"""All rules, `plain` first."""

Source = Literal["index", "photograph", "generator", "robust copy"]
"""What a recipe needs besides the network: an indexed dataset, a file, a generator of images, or an
indexed dataset and a robust copy of the network."""

Match = Literal["moments", "sorted"]
"""What recipe `typical` compares of a channel: mean and deviation, or sorted values."""

Relevance = Literal["off", "on"]
"""Whether recipe `typical` weights channels by what drives the unit in its top patches."""

Paper = Literal["a4", "letter"]
"""Sizes of printed pages."""
