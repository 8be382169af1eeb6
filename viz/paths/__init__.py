"""Whether a rendering reaches its unit by the path that the unit's own top patches take.

Goes in: pictures of the network's input, and inputs with an index. Comes out: one number per picture.
Imports: canvas, inputs, objectives, passes, planning.
"""
