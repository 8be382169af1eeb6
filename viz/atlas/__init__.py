"""The atlas: a static web site of an index, one page per layer, unit, image and label.

Goes in: an index and its renderings. Comes out: HTML pages, pictures and data scripts in OUT/atlas.
Imports: inputs, paths, render, sheets.
"""
