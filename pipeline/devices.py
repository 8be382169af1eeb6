"""The device that a network runs on."""

from __future__ import annotations

import torch

from pipeline.choices import Device
from pipeline.errors import DeviceError

__all__ = ["find_device"]


def find_device(name: Device) -> torch.device:
    """The device of that name.

    Args:
        name: `auto` is CUDA where there is a CUDA device, the CPU elsewhere.

    Raises:
        DeviceError: when this machine, or this build of torch, does not have it.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if found["cuda"] else "cpu")
    if not found[name]:
        others = " or ".join(each for each, available in found.items() if available)
        raise DeviceError(f"--device {name}: torch {torch.__version__} finds no such device; use {others}")
    return torch.device(name)
