"""Parts of a module's output that are layers of their own: tokens, chunks of channels, attention patterns.

    NAME.cls, NAME.register0, NAME.token7   one token, as a vector
    NAME.q, NAME.k, NAME.v                  the thirds of a projection to queries, keys and values
    NAME.gate, NAME.value                   the halves of a gated MLP's first projection
    NAME.head3                              one head of an attention's queries, keys, values or output
    NAME.from_cls, NAME.from_all            an attention pattern: a unit for each head; how much each token
                                            is looked at, from the class token or on average from all

Each is a small module below the one it reads, so that it is traced, probed, indexed and rendered like any
other layer. The output of the network does not change.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.addresses import find_tensor
from pipeline.networks.hooks import add_hooks

__all__ = [
    "PART",
    "Part",
    "Pattern",
    "attach_part",
    "has_patterns",
    "part_names",
    "show_pattern",
    "weights_of",
]

PART = re.compile(
    r"cls|(register|token|head)(?P<number>[0-9]{1,4}|\*)|[qkv]|gate|value|from_cls|from_all", re.ASCII
)
"""Last component of the name of a part; `*` is any number."""

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
_REGISTERS = ("reg_token", "reg_tokens", "register_tokens")
_HEADS = ("num_heads", "num_attention_heads")


class Part(nn.Module):
    """Outputs a part of a tensor.

    Args:
        index: of the part.
        count: parts of equal size along the last axis; 0 for a token, of which `index` is the number.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__()
        self.index, self.count = index, count

    def forward(self, tensor: Tensor) -> Tensor:
        """(image, unit) of a token, else the same axes with fewer units."""
        if not self.count:
            if tensor.dim() != 3 or tensor.shape[1] <= self.index:
                raise LayerError(f"an output of shape {tuple(tensor.shape)} has no token {self.index}")
            return tensor[:, self.index]
        if tensor.shape[-1] % self.count:
            raise LayerError(
                f"an output of shape {tuple(tensor.shape)} has no {self.count} parts of equal size"
            )
        size = tensor.shape[-1] // self.count
        return tensor[..., self.index * size : (self.index + 1) * size]


class Pattern(nn.Module):
    """Outputs how much tokens are looked at.

    Args:
        from_cls: from the first token; else on average from all.
    """

    def __init__(self, from_cls: bool) -> None:
        super().__init__()
        self.from_cls = from_cls

    def forward(self, weights: Tensor) -> Tensor:
        """(image, token, head) of attention weights (image, head, query, key)."""
        looked = weights[:, :, 0] if self.from_cls else weights.mean(2)
        return looked.transpose(1, 2)


def part_names(module: nn.Module, name: str, last: str) -> Iterator[str]:
    """The parts of one module that a last component with `*` stands for.

    Args:
        module: the network.
        name: of the module that has them.
        last: such as `head*`, or the name of one part.
    """
    if not last.endswith("*"):
        yield last
        return
    kind = last[:-1]
    count = _registers(module) if kind == "register" else _heads(module, name) if kind == "head" else 0
    yield from (f"{kind}{number}" for number in range(count))


def attach_part(module: nn.Module, name: str, owner: nn.Module, last: str) -> nn.Module:
    """Add a part to a module of a network.

    Args:
        module: the network; changed in place.
        name: dotted name of the owner.
        owner: whose output, or whose attention pattern, is meant.
        last: name of the part, see `PART`.

    Raises:
        LayerError: when the owner has no such part.
    """
    if last in ("from_cls", "from_all"):
        part: nn.Module = Pattern(last == "from_cls")
        if last == "from_cls" and not _has_class_token(module):
            raise LayerError(f"layer {name}.{last}: the network has no class token; use {name}.from_all")
        _show_patterns_of(owner, name)
    else:
        part = Part(*_place(module, name, owner, last))
        if not any(isinstance(child, Part) for child in owner.children()):
            add_hooks(forward=[(owner, _show_parts)])
    if hasattr(owner, last):
        raise LayerError(f"layer {name}.{last}: {name} has an attribute of that name")
    owner.add_module(last, part)
    return part


def _place(module: nn.Module, name: str, owner: nn.Module, last: str) -> tuple[int, int]:
    """Index and count of a part."""
    found = PART.fullmatch(last)
    assert found is not None
    number = int(found["number"] or 0) if found["number"] != "*" else 0
    kind = found[1] or last
    if kind == "token":
        return number, 0
    if kind == "cls":
        if not _has_class_token(module):
            raise LayerError(f"layer {name}.cls: the network has no class token")
        return 0, 0
    if kind == "register":
        count = _registers(module)
        if number >= count:
            raise LayerError(f"layer {name}.{last}: the network has {count} register tokens")
        return int(_has_class_token(module)) + number, 0
    if kind == "head":
        count = _heads(module, name)
        if number >= count:
            why = f"its attention has {count} heads" if count else "it is in no attention"
            raise LayerError(f"layer {name}.{last}: {why}")
        return number, count
    if kind in "qkv":
        if getattr(owner, "out_features", 1) % 3 or not _own_heads(_parent(module, name)):
            raise LayerError(
                f"layer {name}.{last}: {name} is no projection to queries, keys and values together; "
                "separate ones are modules of their own (`maxact layers NETWORK --layers '**'` lists them)"
            )
        return "qkv".index(kind), 3
    gate_last = getattr(_parent(module, name), "gate_last", False)
    return int((kind == "gate") == bool(gate_last)), 2


def _has_class_token(module: nn.Module) -> bool:
    return next(_parameters(module, _CLASS_TOKENS), None) is not None


def _registers(module: nn.Module) -> int:
    """Number of register tokens."""
    return next((tensor.shape[-2] for tensor in _parameters(module, _REGISTERS) if tensor.dim() > 1), 0)


def _parameters(module: nn.Module, names: tuple[str, ...]) -> Iterator[Tensor]:
    return (tensor for name, tensor in module.named_parameters() if name.rpartition(".")[2] in names)


def _parent(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


def _heads(module: nn.Module, name: str) -> int:
    """Number of heads of the attention that a module is, or is in; 0 if there is none."""
    while name:
        if heads := _own_heads(module.get_submodule(name)):
            return heads
        name = name.rpartition(".")[0]
    return 0


def _own_heads(owner: nn.Module) -> int:
    for holder in (owner, getattr(owner, "config", None)):
        for attribute in _HEADS:
            if isinstance(found := getattr(holder, attribute, None), int):
                return found
    return 0


def _show_parts(module: nn.Module, _inputs: Any, output: Any) -> None:
    tensor = find_tensor(output)
    for child in module.children():
        if isinstance(child, Part) and tensor is not None:
            child(tensor)


def _show_patterns_of(owner: nn.Module, name: str) -> None:
    """Make an attention compute its weights and show them; fused attention, which does not, is turned off."""
    if any(isinstance(child, Pattern) for child in owner.children()):
        return
    drop = getattr(owner, "attn_drop", None)
    if isinstance(drop, nn.Module) and hasattr(owner, "fused_attn"):
        setattr(owner, "fused_attn", False)  # noqa: B010
        drop.__dict__["shown_in"] = owner  # not as a submodule; a copy of the network refers to its own
        add_hooks(pre=[(drop, _show_dropped)])
    elif isinstance(owner, nn.MultiheadAttention):
        pass  # `pipeline.networks.extra_modules` shows them
    elif hasattr(getattr(owner, "config", None), "_attn_implementation"):
        config: Any = copy.copy(owner.config)
        config._attn_implementation = "eager"
        owner.config = config
        add_hooks(forward=[(owner, _show_returned)])
    else:
        raise LayerError(
            f"layer {name}.from_all: {name} ({type(owner).__name__}) is no attention of timm, transformers "
            "or torch"
        )


def show_pattern(owner: nn.Module, weights: Tensor) -> None:
    """Show attention weights (image, head, query, key) to the patterns of an attention."""
    for child in owner.children():
        if isinstance(child, Pattern):
            child(weights)


def _show_dropped(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    owner: Any = module.__dict__["shown_in"]
    show_pattern(owner, inputs[0])


def _show_returned(module: nn.Module, _inputs: Any, output: Any) -> None:
    for item in output if isinstance(output, tuple | list) else ():
        if isinstance(item, Tensor) and item.dim() == 4 and item.shape[2] == item.shape[3]:
            show_pattern(module, item)
            return


def has_patterns(owner: nn.Module) -> bool:
    """Whether patterns of an attention are layers."""
    return any(isinstance(child, Pattern) for child in owner.children())


def weights_of(queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """Attention weights (image, head, query, key) of queries and keys (image, head, token, feature)."""
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    weights: Tensor = scores.softmax(-1)
    return weights
