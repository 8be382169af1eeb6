"""What trainings on an indexed dataset share: examples in a reproducible order, and a loop with checkpoints.

Goes in: an index, and a training. Comes out: batches of examples, and a finished file.
Imports: seeds, tensor_files.
"""
