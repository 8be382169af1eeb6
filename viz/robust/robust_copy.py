"""Load a robust copy of a network that `viz.robust.training` trained."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import RenderError, RenderingFailed
from pipeline.networks.network import Network, device_of
from pipeline.networks.plain_modules import Opaque, freeze, is_quantised
from pipeline.networks.state_digest import state_digest
from pipeline.working_copies import pull
from viz.tensor_files import load_tensors

__all__ = ["RobustCopy", "copy_module", "load_robust", "robust_path"]


@dataclass(frozen=True)
class RobustCopy:
    """A network with the features of another one, which small changes of a picture hardly change.

    Args:
        network: with the trained weights; its digest is that of these.
        layers: names of the layers whose features were kept.
    """

    network: Network
    layers: frozenset[str]


def robust_path(out: Path) -> Path:
    """Return the path of the robust copy of the network that made the index in `out`."""
    return out / "robust" / "network.pt"


def copy_module(network: Network) -> nn.Module:
    """Copy a network's module, so that it can have other weights.

    Raises:
        RenderError: if it has no weights that could be trained, or cannot be copied.
    """
    module = network.module
    if isinstance(module, Opaque) or is_quantised(module):
        kind = "TorchScript or an exported graph" if isinstance(module, Opaque) else "quantised"
        raise RenderingFailed(
            f"{network.name} is {kind}: its weights cannot be trained; use the network that it was made from"
        )
    if not any(each.is_floating_point() for each in module.parameters()):
        raise RenderingFailed(f"{network.name} has no weights that could be trained")
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise RenderingFailed(f"{network.name} cannot be copied: {type(error).__name__}: {error}") from error


def load_robust(path: Path, network: Network) -> RobustCopy:
    """Load a robust copy.

    Args:
        path: of the file, see `robust_path`.
        network: that it is a copy of; it remains as it is.

    Raises:
        RenderError: if there is no such file, it is damaged or unfinished, or of another network.
    """
    pull(path.parent.parent, f"{path.parent.name}/*")
    try:
        content = load_tensors(path, device_of(network))
        made_of, step, steps = content["network"], content["step"], content["options"]["steps"]
        state, layers = content["weights"], content["layers"]
    except FileNotFoundError:
        raise RenderError(
            f"there is no robust copy of the network at {path}; "
            f"train one with `maxact robust train {path.parent.parent}`"
        ) from None
    except (ValueError, OSError, LookupError, TypeError) as error:
        raise RenderingFailed(
            f"{path} is no robust copy of a network ({error}); give a file of `maxact robust train`"
        ) from error
    if made_of != network.digest:
        raise RenderingFailed(
            f"{path} is a copy of another network: it was trained from weights {made_of[:12]}, "
            f"{network.name} has {network.digest[:12]}; train one for this index with `maxact robust train`"
        )
    if step < steps:
        raise RenderingFailed(
            f"{path} is not finished (step {step:,} of {steps:,}); "
            "run `maxact robust train` again to continue"
        )
    module = copy_module(network)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise RenderingFailed(f"{path} does not fit {network.name}: {error}") from error
    freeze(module)
    with torch.no_grad():
        digest = state_digest(module)
    return RobustCopy(replace(network, module=module, digest=digest), frozenset(layers))
