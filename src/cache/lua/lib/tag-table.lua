-- The tag table of a namespace: one zset, <ns>:tags:{tags:<ns>}. Scores are ticks of its logical clock in µs, below 2^53.
--
--   clock     the latest tick
--   floor     an entry whose seq is below this is dead whatever its tags: the table no longer knows
--   h<tag>    when the tag was last invalidated
--   s<tag>    when it was last invalidated softly: entries before are stale, not dead
--
-- An entry's seq is the clock as it was read before the entry's source was. Only invalidate-tags writes the table. It does
-- not expire; where it is lost, every tagged entry misses.
local TAG_CLOCK = 'clock'
local TAG_FLOOR = 'floor'
local TAG_HARD = 'h'
local TAG_SOFT = 's'
local TAG_TRIM_AT_ONCE = 1000
