-- The images whose label is a class and to which the network gives another, the most certain
-- mistakes first. `maxact explain OUT KEY --between LABEL,PREDICTED` says which units pull to each.
--
-- Parameters
--   $label: text = any        only images with this label
--   $predicted: text = any    only images that are given this class
--   $n: integer 1.. = 50      number of images
-- Columns
--   key                       name of the image in the dataset
--   label                     label of the image
--   predicted                 name of the class with the highest score
--   probability               its probability
--   label_rank                rank of the label's class, if it is among the five highest
--   label_probability         the probability of that class
--   score                     output of the unit of `predicted`
--   unit                      number of that unit in the last layer
--   image_id                  number of the image in `images`
WITH first AS (
    SELECT image_id, unit, name, score, probability FROM predictions
    WHERE rank = 1 AND NOT correct AND ($predicted IS NULL OR name = $predicted)
), label_class AS (
    SELECT image_id, min(rank) AS rank, max(probability) AS probability FROM predictions
    WHERE correct GROUP BY image_id
)
SELECT
    images.key, images.label, first.name AS predicted, first.probability,
    label_class.rank AS label_rank, label_class.probability AS label_probability,
    first.score, first.unit, image_id
FROM first JOIN images USING (image_id) LEFT JOIN label_class USING (image_id)
WHERE $label IS NULL OR images.label = $label
ORDER BY first.probability DESC, image_id
LIMIT $n
