"""How renderings are made, as frozen options with their published defaults.

Goes in: a name or a TOML file, and options as text. Comes out: `Recipe`. Needs no torch.
Imports: nothing.
"""
