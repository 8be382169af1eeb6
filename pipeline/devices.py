"""The device that a network runs on, and the number formats that it computes in."""

from __future__ import annotations

import platform
from typing import get_args

import torch

from pipeline.choices import AskedPrecision, Device, Precision
from pipeline.errors import DeviceError, UsageError

__all__ = ["computes_in_bf16", "find_device", "resolve_precision", "tell_of_bf16"]

_BF16_PARTS = ("avx512_bf16", "amx_bf16")
"""Extensions of x86 processors with which torch computes in bfloat16; others convert every number."""


def find_device(name: Device, asked: str | None = None) -> torch.device:
    """The device of that name.

    Args:
        name: `auto` is CUDA where there is a CUDA device, the CPU elsewhere.
        asked: what the user wrote, for the error; None is the name itself.

    Raises:
        DeviceError: when this machine, or this build of torch, does not have it.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if found["cuda"] else "cpu")
    if not found[name]:
        others = " or ".join(each for each, available in found.items() if available)
        said = f"--device {asked or name}: torch {torch.__version__} finds no such device"
        raise DeviceError(f"{said}; use {others}")
    return torch.device(name)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    if device.type == "cuda":  # pragma: no cover (needs a GPU)
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(able.get(part) for part in _BF16_PARTS)


def resolve_precision(precision: AskedPrecision, device: torch.device) -> Precision:
    """The number format that is computed in: `auto` is bf16 if the device computes in it, else fp32.

    Raises:
        UsageError: if it is none of the words.
    """
    if precision == "auto":
        return "bf16" if computes_in_bf16(device) else "fp32"
    if precision not in get_args(Precision):
        known = ", ".join(get_args(AskedPrecision))
        raise UsageError(f"precision must be one of {known}, got {precision!r}")
    return precision


def tell_of_bf16(precision: AskedPrecision, device: torch.device) -> str | None:
    """What is said of the number format on an x86 processor that does not compute in bfloat16."""
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64") or computes_in_bf16(device):
        return None
    slow = "this processor has no bf16 instructions, so that bf16 takes 7 to 12 times as long as fp32"
    return {
        "auto": f"precision auto: {slow}; going on in fp32",
        "bf16": f"precision bf16: {slow}; stop and give --precision auto unless you need it",
    }.get(precision)
