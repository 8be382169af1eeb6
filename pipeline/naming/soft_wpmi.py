"""Soft-WPMI: how well each word describes a unit's strongest images, by an encoder's scores.

Oikarinen and Weng, "CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision
Networks", ICLR 2023 (arXiv:2204.10965), section 4.2. With B the images that a unit responds to most,

    log p(word | B) = sum over images of log(1 + p(image in B) (p(word | image) - 1)),
    soft-WPMI       = log p(word | B) - lambda log p(word),

where p(word | image) is the softmax over the words of `TEMPERATURE` times the cosine of image and word,
and p(word) the mean of p(word | B) over the units of the layer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LONGEST", "log_likelihood", "soft_wpmi"]

Floats = npt.NDArray[np.float64]

TEMPERATURE = 10.0
"""Factor of cosines in the softmax, `a` of the paper and its code."""

LONGEST = 100
"""Strongest images of a unit that count, K of the paper; an index usually keeps fewer."""

FIRST, LAST = 0.998, 0.97
"""p(image in B) of the strongest image, and of the one after the last of `LONGEST`: linear between."""

LAMBDA = 1.0
"""Weight of log p(word)."""

LEAST = 1e-7
"""Added to the argument of the logarithm, as in the authors' code."""


def log_likelihood(scores: npt.NDArray[np.floating], ranks: npt.NDArray[np.int64]) -> Floats:
    """The logarithm of p(word | B) of one unit, per image.

    The paper's sum is this times the number of images. Units of one layer may have lists of different
    length here, of which the shortest would otherwise determine p(word).

    Args:
        scores: (image, word) cosines.
        ranks: (image,) places in the unit's list, from 1; those above `LONGEST` do not count.

    Returns:
        (word,) float64; zeros without images.
    """
    counted = ranks <= LONGEST
    if not counted.any():
        return np.zeros(scores.shape[1])
    logits = TEMPERATURE * scores[counted].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    inside = FIRST - (ranks[counted] - 1) / LONGEST * (FIRST - LAST)
    summands = np.log(1 + inside[:, None] * (shares - 1) + LEAST)
    mean: Floats = summands.mean(axis=0)
    return mean


def soft_wpmi(likelihood: Floats, images: npt.NDArray[np.int64]) -> Floats:
    """Soft-WPMI of every unit of a layer with every word.

    Args:
        likelihood: (unit, word) of `log_likelihood`.
        images: (unit,) that each is the mean over; units without images do not count.

    Returns:
        (unit, word) float64; minus infinity for units without images. All units are treated as if they
        had as many images as the one with most, which changes nothing where they do.
    """
    counted = images > 0
    found = np.full(likelihood.shape, -np.inf)
    if not counted.any():
        return found
    whole = likelihood[counted] * images.max()
    highest = whole.max(axis=0)
    mean = highest + np.log(np.exp(whole - highest).mean(axis=0))
    found[counted] = whole - LAMBDA * mean
    return found
