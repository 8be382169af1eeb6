-- The samples that could not be used, grouped by reason.
--
-- Parameters
--   $n: integer 1.. = 50      number of reasons
-- Columns
--   error                     the reason as one short word
--   samples                   number of samples
--   shards                    number of shards that contain them
--   example                   key of one of these samples
--   message                   error message for that sample
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
