"""An index opened for questions: DuckDB views, named queries, SQL, images read back.

Goes in: an output folder. Comes out: `Index`, rows, the top images of a unit, decoded images. Only
`indexed_images` and `indexed_network` need torch.
Imports: choices, data, errors, file_names, images, layers, networks, progress, remote, store, visible,
working_copies.
"""
