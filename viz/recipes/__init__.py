"""Recipes: how renderings are made, each kind in a file of its own.

A recipe is frozen data, its options with their published defaults, and says by its methods what it
needs, how its ascent goes and what is done to the pictures afterwards. `catalog.RECIPES` lists them.

    Recipe
    ├── Octaves      pixels, under a blur, enlarged by octaves
    │   ├── Facets   from the mean of a cluster of the unit's top images
    │   └── Dream    from a photograph
    ├── Deepvis      pixels, under decay, blur and clipping of weak pixels
    ├── Fourier      a decorrelated spectrum, under random views
    │   ├── Accentuate   from a top image, kept near it in feature space
    │   └── Typical      activation up to the best image's, features like those of the top patches
    │       └── Robust   the same through a robust copy of the network
    ├── Maco         the phases of a spectrum whose magnitudes are the dataset's
    ├── Faccent      the phases of a top image, kept near it in feature space
    ├── Vital        pixels, whose sorted features are those of the top patches
    └── Latent       the code of a generator

No file here imports torch at its top, so that options can be listed and checked at once: methods
import what they use.

Goes in: a name or a TOML file, options as text; later a `Batch`. Comes out: `Recipe`, `Ascent`.
Imports: ascent, choices, objectives, pixels, planning.
"""
