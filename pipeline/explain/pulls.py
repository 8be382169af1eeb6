"""What in a photograph pulls the network to one of two classes: gradient times activation.

For the logits a and b of two classes, the sum over positions of activation * d(a - b)/d(activation) is
the first-order estimate of how much a - b would fall if the unit were set to zero (Simonyan et al. 2013,
arXiv:1312.6034; "gradient * input" of Shrikumar et al. 2016, arXiv:1605.01713, at a layer inside).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import BadImage, LayerError, SourceError, UsageError
from pipeline.explain.explainer import Explainer
from pipeline.explain.graph import forward_with_graph, tensor_view
from pipeline.explain.photographs import Photograph
from pipeline.images.decode import decode
from pipeline.layers.layer import Layer

__all__ = ["Pull", "class_pulls", "find_classes"]


@dataclass(frozen=True, slots=True)
class Pull:
    """How much a unit pulls to the first class (above 0) or to the second (below 0).

    Args:
        layer, unit: which.
        pull: in units of the logits.
        peak: highest activation.
    """

    layer: Layer
    unit: int
    pull: float
    peak: float


def find_classes(explainer: Explainer, words: str) -> tuple[Layer, int, int]:
    """The classifier of an index and the two classes that are meant by `A,B`.

    Args:
        explainer: of the index.
        words: two class names or numbers, separated by a comma; a name may contain commas itself.

    Raises:
        UsageError: when the text does not name two different classes, or no classifier is in the index.
    """
    index = explainer.index
    last = index.layers[-1]
    if last.grid_h * last.grid_w != 1:
        raise UsageError(
            f"--between needs a classifier in the index, and the last layer, {last.name}, has positions; "
            "index the classifier as well (`maxact layers` lists it)"
        )
    parts = words.split(",")
    problem: UsageError | None = None
    for cut in range(1, len(parts)):
        try:
            first, second = (
                index.unit(last.name, ",".join(each).strip()).number for each in (parts[:cut], parts[cut:])
            )
        except UsageError as error:
            problem = error
            continue
        if first == second:
            raise UsageError(f"--between names {words!r}, which is one class twice")
        return last, first, second
    raise problem or UsageError(
        f"--between needs two classes, such as 'tabby,lynx' or 281,287, got {words!r}"
    )


def class_pulls(
    explainer: Explainer, photograph: Photograph, classes: tuple[Layer, int, int], *, n: int = 8
) -> tuple[tuple[float, float], tuple[Pull, ...]]:
    """Find the n units of each layer before the classifier that pull most to each of two classes.

    Args:
        explainer: of the index.
        photograph: encoded.
        classes: see `find_classes`.
        n: units of each layer for each class.

    Returns:
        The two logits; and the units, by layer, from the strongest pull to the first class to the
        strongest to the second.

    Raises:
        SourceError: when it is no image that can be decoded.
        LayerError: when the classifier does not depend on any of the layers.
    """
    classifier, first, second = classes
    layers = tuple(layer for layer in explainer.layers if layer.name != classifier.name)
    config = explainer.index.run["config"]
    try:
        pixels = decode(photograph.data, explainer.network.preprocess, decoder=config["decoder"])
    except BadImage as error:
        raise SourceError(f"{photograph.name} cannot be used: {error}") from error
    *views, last = forward_with_graph(explainer.module, (*layers, classifier), explainer.batch(pixels))
    scores = tensor_view(classifier, last)[0, :, 0, 0].float()
    margin = scores[first] - scores[second]
    gradients: tuple[Tensor | None, ...] = ()
    if views:
        gradients = torch.autograd.grad(margin, views, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise LayerError(
            f"{classifier.name} depends on none of the chosen layers of the index; choose others with --layer"
        )
    pulls: list[Pull] = []
    for layer, view, gradient in zip(layers, views, gradients, strict=True):
        if gradient is None:
            continue
        seen, slope = tensor_view(layer, view)[0].detach(), tensor_view(layer, gradient)[0]
        pull = (seen.double() * slope.double()).sum((1, 2)).cpu().numpy()
        peak = seen.float().amax((1, 2)).cpu().numpy()
        order = np.argsort(-pull, kind="stable")
        ends = [*order[:n], *order[max(n, len(order) - n) :]]
        pulls += [Pull(layer, int(unit), float(pull[unit]), float(peak[unit])) for unit in ends if pull[unit]]
    both = scores.detach()
    return (float(both[first]), float(both[second])), tuple(pulls)
