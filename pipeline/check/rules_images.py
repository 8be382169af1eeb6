"""Rules for `images`, `errors` and `layers`. See `pipeline.check.rules_units` for their form."""

from __future__ import annotations

from pipeline.image_id import MAX_POSITIONS, POSITION_BITS

__all__ = ["IMAGE_RULES"]

_IDS = """
    SELECT '', -1, image_id, format('has {} rows in images', count(*))
    FROM images GROUP BY image_id HAVING (count(*) = 1 AND image_id >= 0) IS NOT TRUE
"""

_PLACES = """
    SELECT '', -1, min(image_id), format('{} images are {} at offset {} of shard {}', count(*), key,
        "offset", shard)
    FROM images GROUP BY shard, "offset", key HAVING count(*) > 1
    UNION ALL
    SELECT '', -1, min(image_id), format('{} images are at offset {} of shard {}', count(*), "offset", shard)
    FROM images WHERE "offset" > 0 GROUP BY shard, "offset" HAVING count(*) > 1
"""
"""In a folder every image is at offset 0 of its own file."""

_FIELDS = """
    SELECT '', -1, image_id, format('has {} bytes at offset {} and is {} x {} pixels', bytes, "offset", width,
        height)
    FROM images
    WHERE (bytes > 0 AND "offset" >= 0 AND width > 0 AND height > 0 AND digest IS NOT NULL
        AND key IS NOT NULL AND shard IS NOT NULL) IS NOT TRUE
"""

_SHARDS = f"""
    SELECT '', -1, first, format('is of shard {{}}, which has the numbers {{}} to {{}} of {{}}',
        shard, low, high, $shards)
    FROM (
        SELECT shard, min(image_id) AS first, min(image_id >> {POSITION_BITS}) AS low,
            max(image_id >> {POSITION_BITS}) AS high
        FROM images GROUP BY shard
    )
    WHERE (low = high AND high < $shards) IS NOT TRUE
    UNION ALL
    SELECT '', -1, first, format('is of shard {{}}, whose number is not in the order of the names', shard)
    FROM (
        SELECT *, lag(ordinal) OVER (ORDER BY shard) AS before FROM (
            SELECT shard, min(image_id) AS first, min(image_id >> {POSITION_BITS}) AS ordinal
            FROM images GROUP BY shard
        )
    )
    WHERE ordinal <= before
"""

_POSITIONS = f"""
    SELECT '', -1, image_id, format('is at position {{}} of {{}}, which has {{}} images and {{}} errors',
        last, shard, images, errors)
    FROM (
        SELECT i.shard, max(i.image_id) AS image_id, max(i.image_id & {MAX_POSITIONS - 1}) AS last,
            count(*) AS images, (SELECT count(*) FROM errors AS e WHERE e.shard = i.shard) AS errors
        FROM images AS i GROUP BY i.shard
    )
    WHERE last >= images + errors
"""
"""Every position of a shard is an image or an error."""

_ERRORS = """
    SELECT '', -1, -1, format('errors has a row with shard {}, key {} and error {}', coalesce(shard, 'NULL'),
        coalesce(key, 'NULL'), coalesce(error, 'NULL'))
    FROM errors WHERE (shard <> '' AND key IS NOT NULL AND error <> '' AND message IS NOT NULL) IS NOT TRUE
"""

_DUPLICATES = """
    SELECT '', -1, i.image_id, format('is a duplicate of {}, which is not an earlier image, or a duplicate '
        'itself', i.duplicate_of)
    FROM images AS i LEFT JOIN images AS first ON first.image_id = i.duplicate_of
    WHERE i.duplicate_of IS NOT NULL
        AND (first.image_id < i.image_id AND first.duplicate_of IS NULL) IS NOT TRUE
    UNION ALL
    SELECT '', -1, i.image_id, format('has the bytes or the perceptual hash of image {}, but is not marked '
        'as a duplicate', coalesce(d.first, p.first))
    FROM images AS i
    LEFT JOIN (SELECT digest, min(image_id) AS first FROM images GROUP BY digest) AS d
        ON d.digest = i.digest AND d.first < i.image_id
    LEFT JOIN (SELECT phash, min(image_id) AS first FROM images GROUP BY phash) AS p
        ON p.phash = i.phash AND p.first < i.image_id
    WHERE i.duplicate_of IS NULL AND (d.first IS NOT NULL OR p.first IS NOT NULL)
"""

_LAYERS = """
    SELECT layer, -1, -1, format('is layer {} of {} with the number {}, {} times', place, total, ordinal,
        times)
    FROM (
        SELECT *, row_number() OVER (ORDER BY ordinal) - 1 AS place, count(*) OVER () AS total,
            count(*) OVER (PARTITION BY layer) AS times
        FROM layers
    )
    WHERE (ordinal = place AND times = 1) IS NOT TRUE
    UNION ALL
    SELECT layer, -1, -1, format('has positions that see nothing of the input of {} x {} pixels', p.height,
        p.width)
    FROM layers CROSS JOIN preprocess AS p
    WHERE (units > 0 AND grid_h > 0 AND grid_w > 0 AND prefix >= 0
        AND start_y < p.height AND start_x < p.width
        AND start_y + (grid_h - 1) * stride_y < p.height AND start_x + (grid_w - 1) * stride_x < p.width
        AND start_y + rf_h > 0 AND start_x + rf_w > 0) IS NOT TRUE
"""

IMAGE_RULES = (_IDS, _PLACES, _FIELDS, _SHARDS, _POSITIONS, _ERRORS, _DUPLICATES, _LAYERS)
"""All rules of this module; they use the parameter `$shards`."""
