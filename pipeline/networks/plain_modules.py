"""Make what users bring a module whose parts can be hooked, copied and run in float32.

Wrappers (torch.compile, DataParallel, DistributedDataParallel) are removed, exported programs become
modules again, and half and double precision become float32. What cannot be seen inside, TorchScript
and graphs of an exported program, becomes a module with one layer, `output`. What cannot be run is
refused in one line.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError

__all__ = ["Opaque", "Plain", "freeze", "is_quantised", "plain_module", "refuse_precision", "to_float32"]

SCRIPTED = (
    "it is a TorchScript module, whose parts have no hooks: only its output can be probed, as layer "
    "`output`; for the layers inside give the Python module that it was made from"
)
EXPORTED = (
    "it is the graph of an exported program, which has no modules inside: only its output can be probed, "
    "as layer `output`; give the ExportedProgram itself for the layers inside"
)
TRACED = (
    "it is an fx graph: functions between its modules cannot be probed; give the module that it was traced "
    "from for them"
)
RESTORED = "made from an exported program; functions between its modules cannot be probed"
FIXED = (
    "an exported program may be specialised to one batch size; export it with "
    "dynamic_shapes=({0: torch.export.Dim('batch')},)"
)


@dataclass(frozen=True, slots=True)
class Plain:
    """A module that can be run, and what was done to get it.

    Args:
        module: in no other form than `nn.Module` as users write it, or an `Opaque`.
        notes: what the user should know, one sentence each.
        limit: what cannot be probed and why, to be added to errors; empty if all modules can.
    """

    module: nn.Module
    notes: tuple[str, ...] = ()
    limit: str = ""


class Opaque(nn.Module):
    """A module that is run as a whole; its only layer is `output`."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.output = nn.Identity()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the module inside for the arguments of its call."""
        return self.output(self.inside(*args, **kwargs))


def plain_module(given: Any) -> Plain:
    """Make a module that can be probed from what a user gives.

    Args:
        given: an `nn.Module` of any kind, or a `torch.export.ExportedProgram`; changed in place.

    Raises:
        NetworkError: if it is something else, or its parameters are missing or sharded.
    """
    if _is(given, "torch.export.exported_program", "ExportedProgram"):
        given = torch.export.unflatten(given)
        _forget_traces(given)
    if _is(given, "torch.export.unflatten", "UnflattenedModule"):
        return Plain(given, (RESTORED,), FIXED)
    if not isinstance(given, nn.Module):
        raise NetworkError(f"expected an nn.Module or an ExportedProgram, got {type(given).__name__}")
    module, removed = _unwrapped(given)
    notes = tuple(f"the wrapper {name} was removed" for name in removed)
    _refuse_unusable(module)
    _make_leaves(module)
    if isinstance(module, torch.jit.ScriptModule):
        return Plain(Opaque(module), (*notes, SCRIPTED), SCRIPTED)
    if isinstance(module, torch.fx.GraphModule):
        if any(node.op == "call_module" for node in module.graph.nodes if node.target != "_guards_fn"):
            return Plain(module, (*notes, TRACED), TRACED)
        _forget_traces(module)
        return Plain(Opaque(module), (*notes, EXPORTED), f"{EXPORTED}; {FIXED}")
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        limit = "parts of it are TorchScript, which have no hooks; choose modules outside of them"
        return Plain(module, (*notes, limit), limit)
    return Plain(module, notes)


def _unwrapped(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """The module without wrappers, also around its parts, and the names of these wrappers."""
    removed: list[str] = []
    while (inner := _wrapped(module)) is not None:
        removed.append(type(module).__name__)
        module = inner
    if isinstance(module, torch.jit.ScriptModule):
        return module, removed
    for part in list(module.modules()):
        if part._compiled_call_impl is not None:
            part._compiled_call_impl = None
            removed.append("torch.compile")
        for name, child in list(part.named_children()):
            while (inner := _wrapped(child)) is not None:
                removed.append(type(child).__name__)
                setattr(part, name, inner)
                child = inner
    return module, list(dict.fromkeys(removed))


def _wrapped(module: nn.Module) -> nn.Module | None:
    """What a wrapper is around; None if the module is no wrapper."""
    if _is(module, "torch._dynamo.eval_frame", "OptimizedModule"):
        inner: nn.Module = module._orig_mod  # type: ignore[assignment]
        return inner
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inside: nn.Module = module.module
        return inside
    return None


def _is(given: object, module: str, name: str) -> bool:
    """Whether something is of a class of a module that takes a second to import.

    Before it is imported, nothing can be of its classes.
    """
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(given, kind)


def _refuse_unusable(module: nn.Module) -> None:
    """Refuse parameters that are not there or only in part."""
    kinds = {type(part).__name__ for part in module.modules()}
    parameters = dict(module.named_parameters())
    sharded = [name for name, tensor in parameters.items() if type(tensor.data).__name__ == "DTensor"]
    if "FullyShardedDataParallel" in kinds or sharded:
        raise NetworkError(
            "the parameters of the network are sharded (FSDP); save its full state dict, load it into the "
            "plain module, and give that"
        )
    for name, tensor in parameters.items():
        if isinstance(tensor, nn.parameter.UninitializedParameter):
            raise NetworkError(f"parameter {name} is not initialised; run the lazy module once before")
        if tensor.device.type == "meta":
            raise NetworkError(f"parameter {name} has no values (device meta); load the weights before")


def _make_leaves(module: nn.Module) -> None:
    """Detach weights that hooks compute (the old weight norm), so that the module can be copied."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                setattr(part, name, value.detach())


def _forget_traces(module: nn.Module) -> None:
    """Remove the fake tensors that graphs remember, which cannot be copied."""
    for part in module.modules():
        graph = getattr(part, "graph", None)
        for node in getattr(graph, "nodes", ()):
            node.meta.clear()
        if isinstance(meta := vars(part).get("meta"), dict):
            meta.clear()


def freeze(module: nn.Module) -> None:
    """Set to eval mode and freeze the parameters; exported programs are in the mode of their export."""
    if not any(isinstance(part, torch.fx.GraphModule) and not _switches(part) for part in module.modules()):
        module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _switches(module: nn.Module) -> bool:
    """Whether a graph accepts another mode; those of exported programs do not."""
    return "_guards_fn" not in dict(module.named_children()) and not hasattr(module, "_in_spec")


def is_quantised(module: nn.Module) -> bool:
    """Whether some of its weights are quantised."""
    return any(".quantized" in type(part).__module__ for part in module.modules())


def refuse_precision(module: nn.Module, kind: torch.dtype) -> None:
    """Refuse another precision than float32 for a quantised module.

    Raises:
        NetworkError: says which option to give.
    """
    if kind != torch.float32 and is_quantised(module):
        raise NetworkError(f"a quantised network computes from float32, not {kind}; give --precision fp32")


def to_float32(module: nn.Module) -> str:
    """Convert parameters and buffers of another floating-point type; returns a note, or nothing."""
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if not kinds:
        return ""
    module.to(torch.float32)
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return f"its {names} tensors were converted to float32 (--precision bf16 computes in bf16)"
