"""Names of layers: which module, which of its runs in a pass, and which tensor of its output.

NAME            the output of a module that runs once; of several tensors the first
NAME:1          the second item of a tuple or list
NAME:key        an item of a dictionary, a named tuple or a data class; nested: `NAME:key.0`
NAME@2          the output of the second run of a module that runs several times in a pass
NAME@2:key      both
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Address", "RunCounter", "find_tensor", "output_tensors", "parse_address"]

_NAME = re.compile(r"(?P<module>[^@:]*)(@(?P<run>[1-9][0-9]*))?(:(?P<part>.+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """What the name of a layer stands for.

    Args:
        module: dotted name.
        run: which run of it in a pass, from 1; 0 if it runs once.
        part: which tensor of its output, see `output_tensors`; empty: the first.
    """

    module: str
    run: int = 0
    part: str = ""

    def __str__(self) -> str:
        run = f"@{self.run}" if self.run else ""
        return f"{self.module}{run}{':' if self.part else ''}{self.part}"


@functools.lru_cache(maxsize=4096)
def parse_address(name: str) -> Address:
    """Parse the name of a layer; a name of another form is that of a module."""
    found = _NAME.fullmatch(name)
    if found is None:
        return Address(name)
    return Address(found["module"], int(found["run"] or 0), found["part"] or "")


def output_tensors(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an output, with their place in it.

    Args:
        output: a tensor, whose place is empty; or tensors in tuples, lists, dictionaries, named tuples
            and data classes, whose places are numbers, keys or fields, joined by dots if nested.
    """
    if isinstance(output, Tensor):
        yield "", output
        return
    for key, item in _items(output):
        for place, tensor in output_tensors(item):
            yield f"{key}.{place}" if place else str(key), tensor


def _items(output: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        yield from zip(output._fields, output, strict=True)
    elif isinstance(output, tuple | list):
        yield from enumerate(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        yield from ((field.name, getattr(output, field.name)) for field in dataclasses.fields(output))


def find_tensor(output: Any, part: str = "") -> Tensor | None:
    """One tensor of an output.

    Args:
        output: as for `output_tensors`.
        part: its place; empty: the first tensor.

    Returns:
        None if there is no such tensor. Quantised tensors are converted to float.
    """
    found = _tensor_at(output, part) if part else _first_tensor(output)
    return found.dequantize() if found is not None and found.is_quantized else found


def _first_tensor(output: Any) -> Tensor | None:
    """The first tensor of an output. No generator: torch.compile traces this."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        for item in output:
            found = _first_tensor(item)
            if found is not None:
                return found
        return None
    return next((tensor for _, tensor in output_tensors(output)), None)


def _tensor_at(output: Any, part: str) -> Tensor | None:
    return next((tensor for place, tensor in output_tensors(output) if place == part), None)


class RunCounter:
    """Counts the runs of modules in one pass, to act on the run that a layer means."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}

    def clear(self) -> None:
        """Begin another pass."""
        self._runs = {}

    def is_meant(self, layer: str, run: int) -> bool:
        """Count one run for a layer; returns whether it is the one meant, or the layer means any (0)."""
        if not run:
            return True
        count = self._runs.get(layer, 0) + 1
        self._runs[layer] = count
        return count == run
