"""Windowed attention: the windows, which it has on its first axis, joined to maps with the images there.

Swin shifts the map of tokens cyclically, pads it, and divides it into windows of neighbouring tokens;
MaxViT also into windows of tokens that are evenly spread over the map. Inside the attention, tensors are
(window, token, unit). What is added to a module there, see `pipeline.networks.parts`, refers to the block
that makes the windows, and undoes all of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.hooks import add_hooks

__all__ = ["Windows", "find_windows", "join_windows", "joined", "joins_windows", "windows_of"]

_ATTENTIONS = ("attn", "attn_block", "attn_grid", "attention")
"""Names of the children of a block that are given its windows."""

_BLOCK, _SHAPE = "windowed_by", "windowed_map"
"""Attributes, not submodules, of an added module: its block; of a block: images, rows and columns."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How a map of tokens is divided into windows.

    Args:
        rows: of the map, without padding.
        columns: likewise.
        size: rows and columns of a window.
        shift: by which the map is rolled towards its first row and column.
        strided: whether the tokens of a window are spread evenly over the map, rather than neighbours.
        padded_first: whether the map is padded before it is rolled.
    """

    rows: int
    columns: int
    size: tuple[int, int]
    shift: tuple[int, int] = (0, 0)
    strided: bool = False
    padded_first: bool = False

    @property
    def down(self) -> int:
        """Windows above each other."""
        return -(-self.rows // self.size[0])

    @property
    def along(self) -> int:
        """Windows beside each other."""
        return -(-self.columns // self.size[1])

    def fits(self, tensor: Tensor, images: int) -> bool:
        """Whether a tensor has these windows, (window, token, unit) or (window, y, x, unit)."""
        tokens = tuple(tensor.shape[1:-1])
        area = self.size[0] * self.size[1]
        return len(tensor) == images * self.down * self.along and tokens in ((area,), self.size)

    def join(self, tensor: Tensor, images: int) -> Tensor:
        """(image, y, x, unit) of a tensor that fits."""
        down, along, (height, width) = self.down, self.along, self.size
        tiles = tensor.reshape(images, down, along, height, width, -1)
        tiles = tiles.permute(0, 3, 1, 4, 2, 5) if self.strided else tiles.permute(0, 1, 3, 2, 4, 5)
        grid = tiles.reshape(images, down * height, along * width, -1)
        if not self.padded_first:
            grid = grid[:, : self.rows, : self.columns]
        grid = grid.roll(self.shift, (1, 2))
        return grid[:, : self.rows, : self.columns].contiguous()

    def split(self, grid: Tensor) -> Tensor:
        """(window, token, unit) of a map (image, y, x, unit), with zeros in the padding."""
        images, down, along, (height, width) = len(grid), self.down, self.along, self.size
        padding = (0, 0, 0, along * width - self.columns, 0, down * height - self.rows)
        back = (-self.shift[0], -self.shift[1])
        if self.padded_first:
            grid = functional.pad(grid, padding).roll(back, (1, 2))
        else:
            grid = functional.pad(grid.roll(back, (1, 2)), padding)
        if self.strided:
            tiles = grid.reshape(images, height, down, width, along, -1).permute(0, 2, 4, 1, 3, 5)
        else:
            tiles = grid.reshape(images, down, height, along, width, -1).permute(0, 1, 3, 2, 4, 5)
        return tiles.reshape(images * down * along, height * width, -1)


def find_windows(module: nn.Module, name: str) -> nn.Module | None:
    """The block that makes the windows in which a module works.

    Args:
        module: the network.
        name: of one of its modules.

    Returns:
        None if the module does not work in windows.
    """
    path = name.split(".")
    for depth in range(len(path) - 1, -1, -1):
        block = module.get_submodule(".".join(path[:depth])) if depth else module
        if _makes_windows(block):
            inside = path[depth] in (("qkv", "proj") if _is_torchvisions(block) else _ATTENTIONS)
            return block if inside else None
    return None


def joined(added: nn.Module, block: nn.Module, name: str = "") -> None:
    """Make an added module join the windows of a block in what it outputs, see `join_windows`.

    Args:
        added: the module.
        block: from `find_windows`.
        name: of the module in which it reads, to tell MaxViT's two attentions apart.
    """
    added.__dict__[_BLOCK] = block  # not as a submodule; a copy of the network refers to its own
    added.__dict__["windowed_strided"] = ".attn_grid" in f".{name}."
    if _SHAPE not in block.__dict__:
        block.__dict__[_SHAPE] = (0, 0, 0)
        add_hooks(pre=[(block, _keep_shape)])


def joins_windows(added: nn.Module) -> bool:
    """Whether an added module joins windows, so that its outputs are (image, y, x, unit)."""
    return _BLOCK in added.__dict__


def join_windows(added: nn.Module, tensor: Tensor) -> Tensor:
    """What an added module outputs: a tensor whose windows are joined if it has any.

    Args:
        added: the module.
        tensor: (window, token, unit), (window, y, x, unit), or of another shape.

    Returns:
        (image, y, x, unit), or the tensor if it is not divided into the windows of the module's block.
    """
    block = added.__dict__.get(_BLOCK)
    if block is None:
        return tensor
    images, rows, columns = block.__dict__[_SHAPE]
    found = windows_of(block, rows, columns, strided=added.__dict__["windowed_strided"])
    return found.join(tensor, images) if found.fits(tensor, images) else tensor


def windows_of(block: nn.Module, rows: int, columns: int, *, strided: bool = False) -> Windows:
    """The windows that a block makes of a map, by its attributes.

    Args:
        block: of Swin in timm or transformers, the attention of Swin in torchvision, or a block of MaxViT
            in timm.
        rows: of the map.
        columns: likewise.
        strided: whether the attention is the one of two that has strided windows.
    """
    if hasattr(block, "partition_size"):
        strided = strided or not getattr(block, "partition_block", True)
        return Windows(rows, columns, _pair(block.partition_size), strided=strided)
    size, shift = _pair(block.window_size), _pair(getattr(block, "shift_size", 0))
    if _is_torchvisions(block):
        # It does not shift along an axis that has one window.
        shift = (shift[0] if size[0] < rows else 0, shift[1] if size[1] < columns else 0)
    timms = type(block).__module__.startswith("timm.")
    return Windows(rows, columns, size, shift, padded_first=not timms)


def _pair(value: Any) -> tuple[int, int]:
    down, along = value if isinstance(value, Sequence) else (value, value)
    return int(down), int(along)


def _makes_windows(block: nn.Module) -> bool:
    has_size = bool(getattr(block, "partition_size", 0)) or hasattr(block, "shift_size")
    return has_size and any(True for _ in block.children())


def _is_torchvisions(block: nn.Module) -> bool:
    return hasattr(block, "shift_size") and hasattr(block, "qkv")


def _keep_shape(block: nn.Module, inputs: tuple[Any, ...]) -> None:
    tensor = inputs[0]
    if tensor.dim() == 3:  # transformers give the rows and columns beside the tokens
        rows, columns = inputs[1]
    else:
        attention = getattr(block, "attn", None)
        channels_first = isinstance(getattr(attention, "qkv", None), nn.Conv2d)
        rows, columns = tensor.shape[2:4] if channels_first else tensor.shape[1:3]
    block.__dict__[_SHAPE] = (len(tensor), int(rows), int(columns))
