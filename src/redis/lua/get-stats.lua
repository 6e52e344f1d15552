#!lua flags=no-writes
--[[
  get-stats: what was counted in a namespace.

  KEYS[1] stats    hash  <ns>:stats:{…}, see stats.lua
  KEYS[2] hotEven  zset  <ns>:hot:{…}:even
  KEYS[3] hotOdd   zset  <ns>:hot:{…}:odd

  ARGV[1] minutes   integer  0..60, the last ones, with this one
  ARGV[2] hotLimit  integer  0..

  Returns
    {'NOTHING'}  nothing was counted for long
    {'STATS', since, total, windowMs, ongoing, n, start, counts, parts, …, name, count, …}
                 numbers are decimal strings; since when, Unix ms, and the list of counters; how long the hot names were
                 counted; what is going on in all processes; n minutes, the oldest first: its start, Unix ms, and its
                 list, empty where nothing was counted, and that of each part; the hot names, the hottest first

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "clock.lua"
--- @include "stats.lua"
local stats, hot_even, hot_odd = KEYS[1], KEYS[2], KEYS[3]
local minutes, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if not minutes or minutes < 0 or minutes > STATS_MINUTES then return redis.error_reply('BADARG minutes') end
if not limit or limit < 0 then return redis.error_reply('BADARG hotLimit') end

local read, ongoing = {}, 0
local fields = redis.call('HGETALL', stats)
for i = 1, #fields, 2 do
  read[fields[i]] = fields[i + 1]
  if string.sub(fields[i], 1, #STATS_ONGOING) == STATS_ONGOING then ongoing = ongoing + ongoing_in(fields[i + 1]) end
end
local since, total = tonumber(read[STATS_SINCE]), read[STATS_TOTAL]
if not since or not total then return {'NOTHING'} end

-- this minute and the one before: alone, the one would miss what became hot just now, and the other be short
local window_ms = now_ms - math.max(since, (now_minute - 1) * MINUTE_MS)
local first = math.max(now_minute - minutes + 1, math.floor(since / MINUTE_MS))
local reply = {'STATS', decimal(since), total, decimal(math.max(window_ms, 0)), decimal(ongoing),
  decimal(math.max(now_minute - first + 1, 0))}
for minute = first, now_minute do
  reply[#reply + 1] = decimal(minute * MINUTE_MS)
  reply[#reply + 1] = read[decimal(minute)] or ''
  reply[#reply + 1] = read[STATS_PARTS .. decimal(minute)] or ''
end
if limit == 0 then return reply end

local counts, names = {}, {}
local function add_hot_names(zset, is_of)
  if not is_of or tonumber(is_of) < now_minute - 1 then return end
  local scored = redis.call('ZREVRANGE', zset, 0, -1, 'WITHSCORES')
  for i = 1, #scored, 2 do
    local name = scored[i]
    if not counts[name] then names[#names + 1] = name end
    counts[name] = (counts[name] or 0) + tonumber(scored[i + 1])
  end
end
add_hot_names(hot_even, read[STATS_EVEN])
add_hot_names(hot_odd, read[STATS_ODD])
table.sort(names, function(one, other)
  if counts[one] ~= counts[other] then return counts[one] > counts[other] end
  return one < other
end)
for i = 1, math.min(limit, #names) do
  reply[#reply + 1] = names[i]
  reply[#reply + 1] = decimal(counts[names[i]])
end
return reply
