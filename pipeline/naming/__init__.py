"""Names of units from labels: concepts, and the exact correlation of peaks with them.

Goes in: sums of peaks per label and half, and concepts as sets of labels. Comes out: for each unit the
concepts that explain its peaks, chosen on one half of the images and judged on the other.
Imports: errors, state.
"""
