"""A study with people: which of two photographs drives a unit more, asked on a page that opens from disk.

Goes in: an index and its renderings. Comes out: one HTML file, which saves answers as JSON.
Imports: inputs, objectives, planning, recipes, render, sheets.
"""
