#!lua
--[[
  invalidate-tags: end all entries that carry one of the tags, however many they are.

  KEYS[1] tags  zset  <ns>:tags:{tags:<ns>}

  ARGV[1] mode     word     hard | soft
  ARGV[2] maxTags  integer  1..: as many the table keeps; beyond, the oldest become the floor
  ARGV[3..n] tags  text     1..128 bytes each; none: only sees to it that there is a table

  Returns
    {clock}  the table's clock, a decimal string

  Atomicity: clock, generations and floor move in one step.
  Retry:     invalidates again, with what was filled in between.    Clock: Redis TIME.
  See lib/tag-table.lua. A table that is new starts with the floor at its clock: what an older table said is lost, so
  every entry from before misses.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/tag-table.lua"
local tags = KEYS[1]
local mode, max_tags = ARGV[1], tonumber(ARGV[2])
if mode ~= 'hard' and mode ~= 'soft' then return redis.error_reply('BADARG mode') end
if not max_tags or max_tags < 1 then return redis.error_reply('BADARG maxTags') end

local previous = redis.call('ZSCORE', tags, TAG_CLOCK)
if previous and #ARGV < 3 then return {previous} end

local clock = next_tick(tonumber(previous or '0'))
local generation = decimal(clock)
redis.call('ZADD', tags, generation, TAG_CLOCK)
if not previous then redis.call('ZADD', tags, generation, TAG_FLOOR) end
local prefix = mode == 'hard' and TAG_HARD or TAG_SOFT
for i = 3, #ARGV do
  redis.call('ZADD', tags, generation, prefix .. ARGV[i])
end

-- at most so many at once, so that a table that came to be far too long keeps nobody waiting
local excess = math.min(redis.call('ZCARD', tags) - 2 - max_tags, TAG_TRIM_AT_ONCE)
if excess > 0 then
  local floor = tonumber(redis.call('ZSCORE', tags, TAG_FLOOR))
  -- two more, because the clock and the floor may be among them
  local oldest = redis.call('ZRANGE', tags, 0, excess + 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local member = oldest[i]
    if member ~= TAG_CLOCK and member ~= TAG_FLOOR and excess > 0 then
      redis.call('ZREM', tags, member)
      floor = math.max(floor, tonumber(oldest[i + 1]))
      excess = excess - 1
    end
  end
  redis.call('ZADD', tags, decimal(floor), TAG_FLOOR)
end
return {generation}
