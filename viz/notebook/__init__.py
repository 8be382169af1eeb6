"""Units and renderings as notebooks show them: HTML with the pictures inside.

Goes in: a unit of an open index. Comes out: `UnitView` and `Renderings`, which IPython displays.
Imports: paths, recipes, render, sheets.
"""
