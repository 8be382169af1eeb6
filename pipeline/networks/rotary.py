"""Queries and keys after their rotary positions, as layers below an attention.

    NAME.q_rot, NAME.k_rot      as they are multiplied: normalised where the attention does so, and rotated

Of timm's attentions with `q_norm` and `k_norm` that are given `rope`, and of transformers' with `q_proj`
and `k_proj` that are given `position_embeddings`. The rotation is done by the library's own function.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.hooks import add_hooks

__all__ = ["Rotated", "attach_rotated"]

_FUNCTIONS = {"apply_rot_embed_cat": "{}_norm", "apply_rotary_pos_emb": "{}_proj"}
"""Functions of timm and of transformers, and the modules whose output they rotate."""

_ROTATION = "rotation_given"
"""Attribute of an attention: the rotation of the pass that runs."""


class Rotated(nn.Identity):
    """Outputs the rotated queries or keys, (image, token, unit), that it is shown."""


def attach_rotated(name: str, owner: nn.Module, last: str) -> nn.Module:
    """Make an attention show its rotated queries or keys.

    Args:
        name: dotted name of the attention.
        owner: that attention.
        last: `q_rot` or `k_rot`.

    Raises:
        LayerError: when the module is no attention with rotary positions.
    """
    code = sys.modules[type(owner).__module__]
    given = {"rope", "position_embeddings"} & inspect.signature(owner.forward).parameters.keys()
    for function, source in _FUNCTIONS.items():
        projection = getattr(owner, source.format(last[0]), None)
        if given and hasattr(code, function) and isinstance(projection, nn.Module):
            break
    else:
        kind = type(owner).__name__
        raise LayerError(f"layer {name}.{last}: a {kind} is no attention with rotary positions")
    if _ROTATION not in owner.__dict__:
        owner.__dict__[_ROTATION] = None
        owner.register_forward_pre_hook(_keep_rotation, with_kwargs=True)
    projection.__dict__["rotated_in"] = (owner, last, function)  # not as a submodule
    add_hooks(forward=[(projection, _show_rotated)])
    return Rotated()


def _keep_rotation(owner: nn.Module, _inputs: Any, keywords: dict[str, Any]) -> None:
    owner.__dict__[_ROTATION] = keywords.get("rope", keywords.get("position_embeddings"))


def _show_rotated(projection: nn.Module, _inputs: Any, output: Tensor) -> None:
    owner, last, function = projection.__dict__["rotated_in"]
    rotation = owner.__dict__[_ROTATION]
    if rotation is None:
        return
    rotate: Any = getattr(sys.modules[type(owner).__module__], function)
    if function == "apply_rotary_pos_emb":
        heads = output.view(*output.shape[:-1], -1, owner.head_dim).transpose(1, 2)
        rotated, _ = rotate(heads, heads, *rotation)
    else:
        before, after = output[:, :, : owner.num_prefix_tokens], output[:, :, owner.num_prefix_tokens :]
        half = getattr(owner, "rotate_half", False)
        rotated = torch.cat([before, rotate(after, rotation, half=half)], 2).type_as(output)
    owner.get_submodule(last)(rotated.transpose(1, 2).flatten(2))
