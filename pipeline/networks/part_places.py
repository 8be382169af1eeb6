"""Where the parts of a module's output are: the names of `pipeline.networks.parts`, and what they need."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.networks.windows import find_windows

__all__ = ["PART", "Place", "find_place", "has_class_token", "part_names", "special_tokens"]

PART = re.compile(
    r"cls|(register|suffix|token|head)(?P<number>[0-9]{1,4}|\*)|[qkv]|[qk]_rot|gate|value|joined|output[0-9]{1,4}"
    r"|from_(cls|all|(register|suffix|token)([0-9]{1,4}|\*))|\[[qkv]+\]|from_\*",
    re.ASCII,
)
"""Last component of the name of a part, or of a glob for several; `head*` is any number."""

_PROJECTED = re.compile(r"(to_)?(q|k|v|query|key|value)(_proj|_lin|_linear|_rot)?", re.ASCII)
"""Names of projections to queries, keys or values, and of these parts."""

_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
_REGISTERS = ("reg_token", "reg_tokens", "register_tokens")
_AFTER_THE_GRID = ("detection_tokens", "det_token", "det_tokens")
_HEADS = ("num_heads", "num_attention_heads", "heads")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a tensor is.

    Args:
        index: its number; of a token negative if counted from the end.
        count: parts of equal size along the axis; 0 for a token.
        groups: equal pieces of the axis that each have these parts, as heads with their own queries,
            keys and values.
        axis: of the units: -1, or 1 for maps with the channels first.
    """

    index: int
    count: int = 0
    groups: int = 1
    axis: int = -1


def part_names(module: nn.Module, name: str, last: str) -> Iterator[str]:
    """The parts of one module that a last component stands for.

    Args:
        module: the network.
        name: of the module that has them.
        last: such as `head*`, `[qk]`, `from_*`, or the name of one part; of `token*` there are
            none, as tokens with a place are the positions of the module itself.
    """
    if last == "from_*" or last.startswith("["):
        yield from fnmatch.filter(("q", "k", "v", "from_cls", "from_all"), last)
        return
    if not last.endswith("*"):
        yield last
        return
    kind = last[:-1].removeprefix("from_")
    count = 0
    if kind == "register":
        count = _tokens(module, _REGISTERS)
    elif kind == "suffix":
        count = _tokens(module, _AFTER_THE_GRID)
    elif kind == "head":
        count = _heads(module, name)
    yield from (f"{last[:-1]}{number}" for number in range(count))


def find_place(module: nn.Module, name: str, owner: nn.Module, last: str) -> Place:
    """Where a part of a module's output is.

    Args:
        module: the network.
        name: of the module that has the part.
        owner: that module.
        last: name of the part, see `PART`.

    Raises:
        LayerError: when the module has no such part.
    """
    found = PART.fullmatch(last)
    assert found is not None
    number = int(found["number"] or 0) if found["number"] != "*" else 0
    kind = found[1] or last
    if kind == "token":
        return Place(number)
    if kind == "cls":
        if not has_class_token(module):
            raise LayerError(f"layer {name}.cls: the network has no class token")
        return Place(0)
    if kind == "register":
        count = _tokens(module, _REGISTERS)
        if number >= count:
            raise LayerError(f"layer {name}.{last}: the network has {count} register tokens")
        return Place(int(has_class_token(module)) + number)
    if kind == "suffix":
        count = _tokens(module, _AFTER_THE_GRID)
        if number >= count:
            raise LayerError(f"layer {name}.{last}: the network has {count} tokens after the grid")
        return Place(number - count)
    if kind == "head":
        _refuse_headless(module, name, last)
        count = _heads(module, name)
        if number >= count:
            raise LayerError(f"layer {name}.{last}: its attention has {count} heads")
        return Place(number, count, axis=_unit_axis(module, name))
    if kind == "joined":
        if find_windows(module, name) is None:
            raise LayerError(f"layer {name}.joined: {name} is not in the windows of an attention")
        return Place(0, 1, axis=_unit_axis(module, name))
    if kind in "qkv":
        return _projection(module, name, owner, kind)
    parent = _parent(module, name)
    if not any(_takes_half(sibling, owner) for sibling in parent.children()):
        raise LayerError(
            f"layer {name}.{last}: {name} is no projection to gate and value together; separate ones are "
            "modules of their own (`maxact layers NETWORK --layers '**'` lists them)"
        )
    return Place(int((kind == "gate") == bool(getattr(parent, "gate_last", False))), 2)


def _projection(module: nn.Module, name: str, owner: nn.Module, kind: str) -> Place:
    """Where queries, keys or values are in the output of a projection to all three."""
    attention = _parent(module, name)
    heads = _own_heads(attention)
    size = getattr(owner, "out_features", getattr(owner, "out_channels", 1))
    if size % 3 or not heads:
        raise LayerError(
            f"layer {name}.{kind}: {name} is no projection to queries, keys and values together; "
            "separate ones are modules of their own (`maxact layers NETWORK --layers '**'` lists them)"
        )
    # Of CoAtNet and MaxViT, each head has its queries, keys and values beside each other.
    groups = heads if getattr(attention, "head_first", False) else 1
    return Place("qkv".index(kind), 3, groups, _unit_axis(module, name))


def _unit_axis(module: nn.Module, name: str) -> int:
    """The axis of the units in the output of a module, or of the one that an added module reads."""
    while name and not (children := module.get_submodule(name)).state_dict():
        name = name.rpartition(".")[0]
    return 1 if name and isinstance(children, nn.Conv2d) else -1


def _takes_half(after: nn.Module, before: nn.Module) -> bool:
    """Whether a linear layer takes half of what another one outputs, as behind a gate."""
    return (
        isinstance(after, nn.Linear)
        and isinstance(before, nn.Linear)
        and 2 * after.in_features == before.out_features
    )


def _refuse_headless(module: nn.Module, name: str, last: str) -> None:
    """Refuse heads of what is not divided into heads; an equal part of it would mean nothing.

    Divided are queries, keys and values, and the input of what follows the heads in an attention.
    """
    if not _heads(module, name):
        raise LayerError(f"layer {name}.{last}: it is in no attention")
    base, _, own = name.rpartition(".")
    if _PROJECTED.fullmatch(own):
        return
    before = base.rpartition(".")[2]
    if own == "input" and not (
        _own_heads(module.get_submodule(base)) or before == "qkv" or _PROJECTED.fullmatch(before)
    ):
        return
    raise LayerError(
        f"layer {name}.{last}: {name} is not divided into heads; the heads' output is the input of the "
        f"attention's output projection, as in blocks.0.attn.proj.input.{last}, and queries, keys and values "
        f"are divided, as in blocks.0.attn.qkv.q.{last}"
    )


def has_class_token(module: nn.Module) -> bool:
    """Whether a network has a class token."""
    return next(_parameters(module, _CLASS_TOKENS), None) is not None


def special_tokens(module: nn.Module) -> tuple[int, int]:
    """Number of tokens before and after the grid of a network, as its parameters' names say."""
    before = int(has_class_token(module)) + _tokens(module, _REGISTERS)
    return before, _tokens(module, _AFTER_THE_GRID)


def _tokens(module: nn.Module, names: tuple[str, ...]) -> int:
    """Number of tokens in a parameter of one of these names."""
    return next((tensor.shape[-2] for tensor in _parameters(module, names) if tensor.dim() > 1), 0)


def _parameters(module: nn.Module, names: tuple[str, ...]) -> Iterator[Tensor]:
    """Parameters of one of these names, or with a number behind it, as of CrossViT's branches."""
    for name, tensor in module.named_parameters():
        if re.sub(r"_[0-9]+$", "", name.rpartition(".")[2]) in names:
            yield tensor


def _parent(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


def _heads(module: nn.Module, name: str) -> int:
    """Number of heads of the attention that a module is, or is in; 0 if there is none."""
    while name:
        owner = module.get_submodule(name)
        # SwinV2 of transformers has the heads in `attention.self`, and what follows them beside it.
        if heads := _own_heads(owner) or _own_heads(getattr(owner, "self", None)):
            return heads
        name = name.rpartition(".")[0]
    return 0


def _own_heads(owner: nn.Module | None) -> int:
    for holder in (owner, getattr(owner, "config", None)):
        for attribute in _HEADS:
            if isinstance(found := getattr(holder, attribute, None), int):
                return found
    return 0
