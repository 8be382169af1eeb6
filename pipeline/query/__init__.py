"""An index opened for questions: DuckDB views, named queries, SQL, images read back.

Goes in: an output folder. Comes out: `Index`, rows, the top images of a unit. Needs no torch.
Imports: choices, data, errors, images, layers, store.
"""
