#!lua flags=no-writes
--[[
  get-stats: what was counted in a namespace.

  KEYS[1] stats    hash  <ns>:stats:{stats:<ns>}, see lib/stats.lua
  KEYS[2] hotEven  zset  <ns>:hot:{stats:<ns>}:even
  KEYS[3] hotOdd   zset  <ns>:hot:{stats:<ns>}:odd

  ARGV[1] minutes      integer  0..60, the last ones, with this one
  ARGV[2] hotKeyLimit  integer  0..

  Returns
    {'NOTHING'}  nothing was counted for long
    {'STATS', since, total, windowMs, n, start, counts, …, key, reads, …}
                 numbers are decimal strings; since when, Unix ms, and the list of counters; how long the reads of the
                 hot keys were counted; n minutes, the oldest first: its start, Unix ms, and its list, empty where
                 nothing was counted; the hot keys, the hottest first

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/stats.lua"
local stats, hot_even, hot_odd = KEYS[1], KEYS[2], KEYS[3]
local minutes, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if not minutes or minutes < 0 or minutes > STATS_MINUTES then return redis.error_reply('BADARG minutes') end
if not limit or limit < 0 then return redis.error_reply('BADARG hotKeyLimit') end

local read = redis.call('HMGET', stats, STATS_SINCE, STATS_TOTAL, STATS_EVEN, STATS_ODD)
local since, total = tonumber(read[1]), read[2]
if not since or not total then return {'NOTHING'} end

-- this minute and the one before: alone, the one would miss what became hot just now, and the other be short
local window_ms = now_ms - math.max(since, (now_minute - 1) * MINUTE_MS)
local first = math.max(now_minute - minutes + 1, math.floor(since / MINUTE_MS))
local reply = {'STATS', decimal(since), total, decimal(math.max(window_ms, 0)), decimal(math.max(now_minute - first + 1, 0))}
for minute = first, now_minute do
  reply[#reply + 1] = decimal(minute * MINUTE_MS)
  reply[#reply + 1] = redis.call('HGET', stats, decimal(minute)) or ''
end
if limit == 0 then return reply end

local reads, keys = {}, {}
local function add_hot_keys(zset, is_of)
  if not is_of or tonumber(is_of) < now_minute - 1 then return end
  local scored = redis.call('ZREVRANGE', zset, 0, -1, 'WITHSCORES')
  for i = 1, #scored, 2 do
    local key = scored[i]
    if not reads[key] then keys[#keys + 1] = key end
    reads[key] = (reads[key] or 0) + tonumber(scored[i + 1])
  end
end
add_hot_keys(hot_even, read[3])
add_hot_keys(hot_odd, read[4])
table.sort(keys, function(one, other)
  if reads[one] ~= reads[other] then return reads[one] > reads[other] end
  return one < other
end)
for i = 1, math.min(limit, #keys) do
  reply[#reply + 1] = keys[i]
  reply[#reply + 1] = decimal(reads[keys[i]])
end
return reply
