-- Samples of the dataset that could not be used, by reason.
--
-- Parameters
--   $n: integer 1.. = 50      how many reasons
-- Columns
--   error                     a short stable word
--   samples                   how many
--   shards                    in how many shards
--   example                   the name of one of them
--   message                   what was wrong with that one
SELECT
    error,
    count(*) AS samples,
    count(DISTINCT shard) AS shards,
    min(key) AS example,
    arg_min(message, key) AS message
FROM errors
GROUP BY error
ORDER BY samples DESC, error
LIMIT $n
