"""Names of units: concepts and their exact correlation with peaks; words, by an encoder's embeddings.

Goes in: sums of peaks per label and half and concepts as sets of labels, or embeddings of recorded images
and of words. Comes out: for each unit the concepts or words that explain its peaks, chosen on one half of
the images and judged on the other; how clear its images are.
Imports: errors, state.
"""
