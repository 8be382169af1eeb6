"""Contact sheets: synthetic images beside the real patches that drive a unit most.

Goes in: an index and its renderings. Comes out: PNG and PDF pages.
Imports: inputs, objectives, planning, render.
"""
