"""The words that options take, each declared once for the configuration, the commands and viz."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "AskedDecoder",
    "AskedPrecision",
    "Compile",
    "Decoder",
    "Device",
    "DirectionMethod",
    "EmbedOf",
    "EngineName",
    "IndexDevice",
    "Keep",
    "Kind",
    "Likeness",
    "MemoryFormat",
    "PeakFormat",
    "Positions",
    "Precision",
    "Score",
    "Side",
]

Precision = Literal["fp32", "bf16"]
"""Number format of weights and activations."""

AskedPrecision = Literal["auto", Precision]
"""Number format that a user asks for; `auto` is bf16 where the processor computes in it, else fp32.
What is measured on a saved picture is always fp32."""

MemoryFormat = Literal["channels_last", "contiguous"]
"""Memory format of a network's parameters and inputs."""

Decoder = Literal["pil", "simplejpeg", "nvjpeg"]
"""Library that decodes JPEGs; `nvjpeg` does it on the GPU."""

AskedDecoder = Literal["auto", Decoder]
"""Library that a user asks for; `auto` is the fastest that is there."""

Compile = Literal["auto", "on", "off"]
"""Whether torch.compile is used; `auto` decides from the dataset's size."""

Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where a network runs; `auto` is CUDA where there is a CUDA device, the CPU elsewhere."""

IndexDevice = Literal[Device, "cuda:all"]
"""Where the network of a run runs; `cuda:all` is every CUDA device of the machine, a process each."""

EngineName = Literal["local", "ray"]
"""What spreads work: this machine, or a Ray cluster."""

DirectionMethod = Literal["pca", "nmf", "kmeans"]
"""How directions of a layer are found on the indexed images."""

EmbedOf = Literal["patches", "images"]
"""What a dual encoder embeds: what the position of a peak sees, or all that the network was shown."""

Keep = Literal["patches", "peaks", "peaks=float16", "peaks=float32"]
"""What else an index keeps: a thumbnail of every image on a list of highest activations; the peaks of all
images, of which `peaks` alone means float16."""

PeakFormat = Literal["float16", "float32"]
"""Number format of the peaks of all images."""

Score = Literal["max", "mean"]
"""How a layer's output becomes one number per image and unit: its maximum or its mean over
positions."""

Likeness = Literal["correlation", "cosine"]
"""How alike the peaks of two units are over the same images."""

Kind = Literal["map", "map_last", "tokens", "vector"]
"""Which axes of a layer's output are units and which are positions."""

Positions = Literal["grid", "reordered", "unknown"]
"""Where a layer's output has its positions: row by row, in another order that was found, or unknown."""

Side = Literal["high", "low"]
"""The highest or the lowest peaks of a unit."""
