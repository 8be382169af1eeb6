-- Which classes are taken for which: pairs of a label and another class that the network gives its
-- images, most frequent first. Labels that are no class of the network are left out.
--
-- Parameters
--   $label: text = any        only this label
--   $n: integer 1.. = 50      number of pairs
-- Columns
--   label                     label of the images
--   predicted                 name of the class with the highest score
--   images                    number of images with that label that are given this class
--   share                     images / number of images with that label
--   probability               mean probability of the class on them
--   example                   name of the image on which it is highest
WITH first AS (
    SELECT images.label, predictions.name, predictions.probability, images.key, predictions.correct
    FROM predictions JOIN images USING (image_id)
    WHERE predictions.rank = 1 AND predictions.correct IS NOT NULL
        AND ($label IS NULL OR images.label = $label)
), counted AS (
    SELECT label, name, count(*) AS images, avg(probability) AS probability,
        arg_max(key, probability) AS example, bool_or(correct) AS correct
    FROM first GROUP BY label, name
)
SELECT
    label, name AS predicted, images,
    images / sum(images) OVER (PARTITION BY label) AS share, probability, example
FROM counted
QUALIFY NOT correct
ORDER BY images DESC, label, predicted
LIMIT $n
