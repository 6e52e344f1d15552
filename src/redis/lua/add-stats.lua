#!lua
--[[
  add-stats: add what a service process counted to the statistics of its namespace.

  KEYS[1] stats    hash  <ns>:stats:{…}, see stats.lua
  KEYS[2] hotEven  zset  <ns>:hot:{…}:even, names with how often they were met in an even minute
  KEYS[3] hotOdd   zset  <ns>:hot:{…}:odd, in an odd one

  ARGV[1] process     text     1..64 bytes, which process sends
  ARGV[2] batch       integer  1.., grows from one addition of the process to the next; a retry has that of its first try
  ARGV[3] gatheredMs  integer  0.., how long it was counted; only where counting begins
  ARGV[4] counts      list     integers with commas between them, by place
  ARGV[5] ongoing     integer  0.., how much of something is going on in the process now; 0 where that is not counted
  ARGV[6] parts       text     what of it belongs to parts of the namespace: each a name without spaces and colons, a colon
                               and a list like counts, with a space between them; '' for none
  ARGV[7..n] hot      text     a name, then how often it was met, an integer; and so on

  Returns
    {'ADDED'}  done
    {'KNOWN'}  an earlier try had been done

  Atomicity: everything counted is added in one step, to the minute in which that happens.
  Retry:     safe: it adds nothing again, within ten minutes of the first try.    Clock: Redis TIME.
]]
--- @include "clock.lua"
--- @include "stats.lua"
local stats = KEYS[1]
local process, batch, gathered_ms, counts, ongoing = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local parts = ARGV[6]
if not batch or batch < 1 then return redis.error_reply('BADARG batch') end
if not gathered_ms or gathered_ms < 0 then return redis.error_reply('BADARG gatheredMs') end
if not string.find(counts, '^%d[%d,]*$') then return redis.error_reply('BADARG counts') end
if not string.find(ongoing, '^%d+$') then return redis.error_reply('BADARG ongoing') end
if not parts or string.gsub(parts .. ' ', '[^ :]+:%d[%d,]* ', '') ~= (parts == '' and ' ' or '') then
  return redis.error_reply('BADARG parts')
end
if #ARGV % 2 ~= 0 then return redis.error_reply('BADARG hot') end
for i = 8, #ARGV, 2 do
  if not tonumber(ARGV[i]) then return redis.error_reply('BADARG hot') end
end

local even = now_minute % 2 == 0
local hot, hot_minute = even and KEYS[2] or KEYS[3], even and STATS_EVEN or STATS_ODD
local minute = decimal(now_minute)
local sender = STATS_PROCESS .. process
local read = redis.call('HMGET', stats, sender, STATS_TOTAL, minute, hot_minute, STATS_PARTS .. minute)
local last_batch, total, this_minute, hot_is_of, these_parts = read[1], read[2], read[3], read[4], read[5]
if last_batch and tonumber(string.match(last_batch, '^%d+')) >= batch then return {'KNOWN'} end

if not total then redis.call('HSET', stats, STATS_SINCE, decimal(now_ms - gathered_ms)) end
if not this_minute then
  for _, field in ipairs(redis.call('HKEYS', stats)) do
    if is_over(stats, field) then redis.call('HDEL', stats, field) end
  end
end
redis.call(
  'HSET', stats, sender, decimal(batch) .. ' ' .. minute,
  STATS_TOTAL, add_counts(total, counts), minute, add_counts(this_minute, counts)
)
if parts ~= '' then redis.call('HSET', stats, STATS_PARTS .. minute, add_parts(these_parts, parts)) end
if tonumber(ongoing) > 0 then
  redis.call('HSET', stats, STATS_ONGOING .. process, ongoing .. ' ' .. decimal(now_ms))
else
  redis.call('HDEL', stats, STATS_ONGOING .. process)
end
redis.call('PEXPIRE', stats, STATS_KEPT_MS)

if #ARGV > 6 then
  if hot_is_of ~= minute then
    redis.call('UNLINK', hot)
    redis.call('HSET', stats, hot_minute, minute)
  end
  for i = 7, #ARGV, 2 do
    redis.call('ZINCRBY', hot, ARGV[i + 1], ARGV[i])
  end
  redis.call('ZREMRANGEBYRANK', hot, 0, -1 - STATS_HOT_NAMES)
  redis.call('PEXPIRE', hot, STATS_HOT_KEPT_MS)
end
return {'ADDED'}
