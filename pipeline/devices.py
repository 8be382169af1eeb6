"""The device that a network runs on, and the number formats that it computes in."""

from __future__ import annotations

import platform

import torch

from pipeline.choices import Device
from pipeline.errors import DeviceError

__all__ = ["computes_in_bf16", "find_device", "warn_of_bf16"]

_BF16_PARTS = ("avx512_bf16", "amx_bf16")
"""Extensions of x86 processors with which torch computes in bfloat16; others convert every number."""


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


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(able.get(part) for part in _BF16_PARTS)


def warn_of_bf16(device: torch.device) -> str | None:
    """What is said when bfloat16 was asked for on an x86 processor that does not compute in it."""
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64") or computes_in_bf16(device):
        return None
    return (
        "precision bf16: this processor has no bf16 instructions, so that it takes 7 to 12 times as long "
        "as fp32; stop and leave --precision out unless you need it"
    )
