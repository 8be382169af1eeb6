"""The digest of a network's weights, by which runs tell networks apart."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["state_digest"]


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of the state dict, in key order."""
    digest = hashlib.sha256()
    state: dict[str, Any] = module.state_dict()
    for name, tensor in sorted(state.items()):
        if not isinstance(tensor, Tensor) or tensor.is_quantized:
            # Of quantised modules: packed parameters, types, and numbers.
            digest.update(f"{name} {_plain_text(tensor)}\n".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(values)
    return digest.hexdigest()


def _plain_text(value: Any) -> str:
    """A part of a quantised module's state as text, without loss."""
    if isinstance(value, Tensor) and value.is_quantized:
        numbers = hashlib.sha256(value.int_repr().contiguous().numpy().tobytes()).hexdigest()
        if value.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams):
            scales: Any = (value.q_per_channel_scales().tolist(), value.q_per_channel_zero_points().tolist())
        else:
            scales = (value.q_scale(), value.q_zero_point())
        return f"{value.dtype} {tuple(value.shape)} {numbers} {scales}"
    if isinstance(value, Tensor):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_plain_text, value))})"
    return repr(value)
