"""What in a real image drives a unit: deconvnet, guided, gradient and activation map.

Goes in: an index and units. Comes out: a page of pictures for each unit.
Imports: choices, inputs, objectives, passes, sheets.
"""
