"""The kinds of recipes: frozen options with their published defaults, and what they accept.

    Recipe
    ├── Octaves      climbs in pixels, blurs, enlarges
    │   ├── Facets   starts from the mean of a cluster of the unit's top images
    │   └── Dream    starts from a photograph
    ├── Deepvis      climbs in pixels under decay, blur and clipping of weak pixels
    ├── Fourier      climbs in a decorrelated spectrum under random views
    │   ├── Accentuate   starts from a top image and stays near it in feature space
    │   └── Typical      is driven as far as the best image, and drawn to what top patches are like
    ├── Maco         climbs in the phases of a spectrum whose magnitudes are the dataset's
    └── Latent       climbs in the code of a generator

What each option means and where its default comes from stands in the `Args` of its class, from
where `maxact recipes NAME` prints it.
"""

from __future__ import annotations

from viz.recipes.base import RULES, Recipe, ReluRule
from viz.recipes.pixels import POST_OCTAVES, Deepvis, Dream, Facets, Octaves
from viz.recipes.spectrum import Accentuate, Fourier, Maco, Typical

__all__ = [
    "POST_OCTAVES",
    "RULES",
    "Accentuate",
    "Deepvis",
    "Dream",
    "Facets",
    "Fourier",
    "Maco",
    "Octaves",
    "Recipe",
    "ReluRule",
    "Typical",
]
