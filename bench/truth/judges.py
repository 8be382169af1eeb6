"""The judges that `--judge` names."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.truth.handmade import handmade
from bench.truth.judge import Eye, Judge
from pipeline.errors import UsageError
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network, device_of, load_network
from viz.inputs.facets import penultimate
from viz.passes.watch import Watch

HANDMADE = "handmade"
"""The word for the judge by hand-made features."""

SELF = "self:"
"""Before a layer of the measured network: a control, since that network is no independent judge."""

DREAMSIM = "dreamsim:"
"""Before the folder of DreamSim's weights."""

DREAMSIM_SIDE = 224
"""Pixels to a side of DreamSim's input."""


def read_judges(given: Sequence[str]) -> list[str]:
    """Split the values of `--judge` at commas.

    Raises:
        UsageError: for an empty name, and for a judge that is named twice.
    """
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if not name:
            raise UsageError("--judge: expected the names of judges, with a comma between two")
        if names.count(name) > 1:
            raise UsageError(f"--judge names {name} twice; name each judge once")
    return names


def load_judges(given: Sequence[str], network: str, out: Path, weights: str | None = None) -> list[Judge]:
    """Load judges, each with a file of features in `out`.

    Args:
        given: values of `--judge`.
        network: name of the measured network, for `self:LAYER`.
        out: folder of the files of features.
        weights: file of the measured network's weights, if it has one.

    Raises:
        UsageError: for an invalid name, and for DreamSim without its package or its weights.
        NetworkError: for a network that cannot be loaded.
        LayerError: for `self:` with a layer that does not exist.
    """
    eyes = [_eye(name, network, weights) for name in read_judges(given)]
    return [Judge(eye, out / f"judge-{eye.digest}.pt") for eye in eyes]


def is_independent(name: str) -> bool:
    """Whether a judge is another network than the measured one, or none."""
    return not name.startswith(SELF)


def _eye(name: str, network: str, weights: str | None) -> Eye:
    if name == HANDMADE:
        return handmade()
    if name.startswith(SELF):
        return layer_eye(load_network(network, weights=weights), name)
    if name.startswith(DREAMSIM):
        return dreamsim_eye(name)
    return network_eye(load_network(name), name)


def network_eye(network: Network, name: str) -> Eye:
    """See by what goes into a network's last linear layer."""
    side = network.preprocess.height, network.preprocess.width
    return Eye(name, network.digest[:12], side, lambda patches: penultimate(network, patches))


def layer_eye(network: Network, name: str) -> Eye:
    """See by the means over positions of the units of one layer.

    Args:
        network: the measured one.
        name: `self:` and the layer.
    """
    (layer,) = choose_layers(network, [name.removeprefix(SELF)], receptive_fields=False)
    side = network.preprocess.height, network.preprocess.width

    def describe(patches: Tensor) -> Tensor:
        with torch.no_grad(), Watch(network, [layer], None) as watch:
            views = watch(patches.float().to(device_of(network)))
        return views[layer.name].values.float().mean((2, 3)).cpu()

    suffix = hashlib.sha256(layer.name.encode()).hexdigest()[:12]
    return Eye(name, f"{network.digest[:12]}-{suffix}", side, describe)


def dreamsim_eye(name: str) -> Eye:
    """See by the embeddings of DreamSim (Fu et al. 2023), whose distances follow people's judgements.

    Its package downloads what it does not find, hence weights must be there.

    Args:
        name: `dreamsim:` and the folder with the weights.

    Raises:
        UsageError: if the package is not installed, or the folder is missing or empty.
    """
    folder = Path(name.removeprefix(DREAMSIM))
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UsageError(f"--judge {name}: expected a folder with the weights of DreamSim")
    try:
        package = importlib.import_module("dreamsim")
    except ImportError as error:
        raise UsageError(f"--judge {name} needs a package; run `pip install dreamsim`") from error
    model: Any = package.dreamsim(pretrained=True, device="cpu", cache_dir=str(folder))[0]

    def describe(patches: Tensor) -> Tensor:
        colours = patches if patches.shape[1] == 3 else patches[:, :1].repeat(1, 3, 1, 1)
        with torch.no_grad():
            found: Tensor = model.embed(colours.float() / 255)
        return found.float().flatten(1).cpu()

    files = sorted((str(each), each.stat().st_size) for each in folder.rglob("*") if each.is_file())
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:12]
    return Eye(name, f"dreamsim-{digest}", (DREAMSIM_SIDE, DREAMSIM_SIDE), describe)
