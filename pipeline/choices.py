"""The words that options take, each declared once for the configuration, the commands and viz."""

from __future__ import annotations

from typing import Literal

__all__ = ["Compile", "Decoder", "Device", "Kind", "MemoryFormat", "Precision", "Score"]

Precision = Literal["fp32", "bf16"]


MemoryFormat = Literal["channels_last", "contiguous"]


Decoder = Literal["pil", "simplejpeg"]


Compile = Literal["auto", "on", "off"]


Device = Literal["auto", "cpu", "cuda", "mps"]


Score = Literal["max", "mean"]
"""How a layer's output becomes one number per image and unit: its maximum or its mean over
positions."""


Kind = Literal["map", "map_last", "tokens", "vector"]
"""Where the units and the positions lie in a layer's output."""
