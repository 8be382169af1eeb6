"""Choose the modules to probe, and find the shape of their units.

A layer is a module, named by its dotted name, or one of its runs or of its tensors, see
`pipeline.networks.addresses`. Its output is of one of four kinds, found by a trial pass:

    map        (image, unit, y, x)
    map_last   (image, y, x, unit)
    tokens     (image, token, unit)   prefix tokens (class, registers) come before the grid, and others
                                      (detection tokens) after it
    vector     (image, unit)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.choices import Kind
from pipeline.errors import LayerError, NetworkError, UsageError
from pipeline.images.preprocess import Preprocess
from pipeline.layers.defaults import find_default_layers
from pipeline.layers.extra_layers import add_extra, missing_parts, parts_of_outputs, windows_named
from pipeline.layers.layer import Layer, unit_view
from pipeline.layers.patterns import Offered, match_layers
from pipeline.layers.positions import placed
from pipeline.layers.receptive_field import Field, Target
from pipeline.layers.receptive_field_cache import cached_fields, cached_placings
from pipeline.layers.unit_axis import guess_kind, is_doubtful, measure_kinds
from pipeline.networks.addresses import parse_address
from pipeline.networks.dictionaries import Dictionary
from pipeline.networks.extra_modules import Directions
from pipeline.networks.network import Network, grey_input, noise_input
from pipeline.networks.part_places import special_tokens
from pipeline.networks.trace import TRACED_IMAGES, Call, trace_modules
from pipeline.networks.windows import joins_windows

__all__ = ["choose_layers"]

MAX_PREFIX_TOKENS = 16
"""Most class, distillation and register tokens before a grid; published models have up to 9."""


def _token_grid(tokens: int, height: int, width: int) -> tuple[int, int, int]:
    """Prefix, rows and columns of a token sequence on an input of height x width.

    Takes the smallest prefix that leaves a grid of the input's aspect ratio; if there is none, the
    whole sequence is one row.
    """
    for prefix in range(min(MAX_PREFIX_TOKENS, tokens - 1) + 1):
        for rows in range(1, tokens - prefix + 1):
            columns, left_over = divmod(tokens - prefix, rows)
            if not left_over and rows * width == columns * height:
                return prefix, rows, columns
    return 0, 1, tokens


def _grid_between(tokens: int, height: int, width: int, special: tuple[int, int]) -> tuple[int, int, int]:
    """As `_token_grid`, of a network that says how many tokens are before and after its grid."""
    before, after = special
    if 0 < after < tokens:
        found = _token_grid(tokens - after, height, width)
        if found[0] == before:
            return found
    return _token_grid(tokens, height, width)


def _tokens_before(tokens: int, height: int, width: int, special: tuple[int, int]) -> int | None:
    """Number of tokens before a grid of the input's aspect ratio; None if there is no such grid."""
    prefix, rows, columns = _grid_between(tokens, height, width, special)
    return prefix if tokens > 1 and rows * width == columns * height else None


def _infer_kind(shape: tuple[int, ...], height: int, width: int) -> Kind:
    if len(shape) == 1:
        return "vector"
    if len(shape) == 2:
        return "tokens"
    return guess_kind(shape, height, width)


AXES: dict[Kind, int] = {"map": 3, "map_last": 3, "tokens": 2, "vector": 1}
"""Number of axes of each kind's output, without the batch axis."""


def _shape_layer(call: Call, preprocess: Preprocess, kind: Kind | None, special: tuple[int, int]) -> Layer:
    """A layer with its units and grid; its receptive field is set to the whole input."""
    height, width = preprocess.height, preprocess.width
    fits = kind is not None and AXES[kind] == len(call.shape)
    found = kind if kind is not None and fits else _infer_kind(call.shape, height, width)
    prefix, rows, columns = 0, 1, 1
    units = call.shape[-1]
    if found == "map":
        units, rows, columns = call.shape
    elif found == "map_last":
        rows, columns, units = call.shape
    elif found == "tokens":
        prefix, rows, columns = _grid_between(call.shape[0], height, width, special)
    return Layer(call.name, 0, found, units, prefix, rows, columns, height, width, *(0, 0), *(0, 0))


def _known_kinds(
    network: Network, calls: Mapping[str, Call], chosen: Sequence[str], kind: Kind | None
) -> dict[str, Kind | None]:
    """The kinds of layers where shapes do not tell them; joined windows may look like maps."""
    known: dict[str, Kind | None] = dict.fromkeys(chosen, kind)
    for name in chosen:
        if joins_windows(network.module.get_submodule(parse_address(name).module)):
            known[name] = "map_last"
    size = network.preprocess.height, network.preprocess.width
    doubtful = [
        name
        for name in chosen
        if known[name] is None and len(calls[name].shape) == 3 and is_doubtful(calls[name].shape, *size)
    ]
    return known | measure_kinds(network.module, grey_input(network), doubtful)


def _find_layers(network: Network, patterns: Sequence[str], kind: Kind | None) -> list[Layer]:
    """The chosen layers with their shapes, found by one trial pass."""
    module = network.module
    blank = grey_input(network, TRACED_IMAGES)
    patterns = parts_of_outputs(patterns, lambda: trace_modules(module, blank))
    for pattern in patterns:
        add_extra(module, pattern)
    calls = trace_modules(module, blank)
    names = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    defaults: Sequence[str] = find_default_layers(module, calls, noise_input(network, TRACED_IMAGES))
    directions = [name for name, part in module.named_modules() if isinstance(part, Directions | Dictionary)]
    if network.default_layers:
        defaults = match_layers(network.default_layers, calls, names, ())
    size, special = (network.preprocess.height, network.preprocess.width), special_tokens(module)
    calls |= missing_parts(module, calls, lambda tokens: _tokens_before(tokens, *size, special))
    calls |= windows_named(module, calls)
    offered = Offered.of(calls)
    defaults = [part for name in defaults for part in (offered.maps.get(name) or (name,))]
    # Directions were asked for by name: they are chosen whatever the patterns are, or refused.
    chosen = match_layers([*(patterns or defaults), *directions], calls, names, defaults)
    kinds = _known_kinds(network, offered.calls, chosen, kind)
    layers = [_shape_layer(offered.calls[name], network.preprocess, kinds[name], special) for name in chosen]
    if not layers:
        raise LayerError(f"network {network.name} has no layer that can be probed")
    if kind is not None and all(layer.kind != kind for layer in layers):
        raise LayerError(
            f"none of the chosen layers can be of kind {kind}: "
            + ", ".join(f"{layer.name} outputs {offered.calls[layer.name].shape}" for layer in layers[:3])
        )
    return [replace(layer, ordinal=ordinal) for ordinal, layer in enumerate(layers)]


def choose_layers(
    network: Network,
    patterns: Sequence[str] = (),
    *,
    receptive_fields: bool = True,
    kind: Kind | None = None,
    cache: Path | None = None,
) -> tuple[Layer, ...]:
    """Choose layers by names or globs; returns them in forward order, with shapes and receptive fields.

    Args:
        network: runs a few trial passes.
        patterns: names or globs, a plain string is one of them; matched against the default
            layers, or against every module if none of those match or the glob contains `**`;
            empty: the default layers. `NAME.input` is the input of a module, see
            `pipeline.networks.extra_modules`, `NAME.cls` and the like a part of its output, see
            `pipeline.networks.parts`. Directions added to the network are always chosen.
        receptive_fields: whether to find them, and to verify positions; if not, they are set to the
            whole input.
        kind: of all chosen layers with the right number of axes, in place of the kind that their
            shapes suggest.
        cache: folder in which the receptive fields of known architectures are stored.

    Returns:
        The layers, numbered in forward order.

    Raises:
        LayerError: if a pattern matches nothing, or a layer cannot be probed.
        UsageError: if the kind is unknown.
    """
    if kind is not None and kind not in AXES:
        raise UsageError(f"--kind must be one of {', '.join(AXES)}, got {kind!r}")
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    try:
        layers = _find_layers(network, patterns, kind)
    except (LayerError, NetworkError) as error:
        if network.limit:
            raise type(error)(f"{error} ({network.limit})") from error
        raise
    if not receptive_fields:
        return tuple(layers)
    try:
        return _place(network, layers, cache)
    except (RuntimeError, AssertionError) as error:
        if not network.limit:
            raise
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(f"a pass on more images failed: {reason} ({network.limit})") from error


def _place(network: Network, layers: Sequence[Layer], cache: Path | None) -> tuple[Layer, ...]:
    """The layers with receptive fields and verified positions."""
    fields = _find_fields(network, layers, cache)
    with_fields = list(map(_with_field, layers, fields))
    # The margins of the search have shown that the rows and columns of such a map follow the input's.
    shown = [
        layer.kind == "map" and all(field.even and field.stride > 0 for field in pair)
        for layer, pair in zip(layers, fields, strict=True)
    ]
    placings = cached_placings(network, with_fields, shown, cache)
    # Where positions are unknown, each sees the whole input, as before the search.
    found = [
        placed(shaped if placing.positions == "unknown" else layer, placing)
        for shaped, layer, placing in zip(layers, with_fields, placings, strict=True)
    ]
    reordered = [layer for layer in found if layer.position_order]
    anew = map(_with_field, reordered, _find_fields(network, reordered, cache))
    by_name = {layer.name: layer for layer in anew}
    return tuple(by_name.get(layer.name, layer) for layer in found)


def _find_fields(network: Network, layers: Sequence[Layer], cache: Path | None) -> list[tuple[Field, Field]]:
    """The receptive fields of layers along y and x."""
    targets = [
        Target(
            layer.module,
            (layer.grid_h, layer.grid_w),
            functools.partial(unit_view, layer),
            f"{layer.name} reordered" if layer.position_order else layer.name,
            layer.run,
        )
        for layer in layers
    ]
    if not targets:
        return []
    try:
        return cached_fields(network.module, grey_input(network), targets, cache)
    except LayerError:
        # Some networks divide by a variance that is 0 on a uniform image.
        return cached_fields(network.module, noise_input(network), targets, cache)


def _with_field(layer: Layer, fields: tuple[Field, Field]) -> Layer:
    rows, columns = fields
    return replace(
        layer,
        rf_h=rows.size,
        rf_w=columns.size,
        stride_y=rows.stride,
        stride_x=columns.stride,
        start_y=rows.start,
        start_x=columns.start,
    )
