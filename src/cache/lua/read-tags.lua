#!lua flags=no-writes
--[[
  read-tags: what changed in the tag table since a tick of its clock.

  KEYS[1] tags  zset  <ns>:tags:{tags:<ns>}

  ARGV[1] since  integer  0..2^53, a tick that the reader knows
  ARGV[2] limit  integer  1000..: members at most; one tick has fewer

  Returns
    {}                                         there is no table
    {clock, floor, upTo, member, tick, …}      decimal strings; members changed after since and up to upTo, which is
                                               the clock where all are told

  Atomicity: one look.
  Retry:     safe.    Clock: none.
]]
--- @include "lib/tag-table.lua"
local tags = KEYS[1]
local since, limit = ARGV[1], tonumber(ARGV[2])
if not limit or limit < 1000 then return redis.error_reply('BADARG limit') end

local clock = redis.call('ZSCORE', tags, TAG_CLOCK)
if not clock then return {} end
local floor = redis.call('ZSCORE', tags, TAG_FLOOR)
local changed = redis.call('ZRANGEBYSCORE', tags, '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local count, up_to = #changed, clock
if count == 2 * limit then
  -- the last tick may have more members than fit: it comes whole the next time
  local cut = changed[count]
  while changed[count] == cut do count = count - 2 end
  up_to = changed[count]
end
local reply = {clock, floor, up_to}
for i = 1, count, 2 do
  local member = changed[i]
  if member ~= TAG_CLOCK and member ~= TAG_FLOOR then
    reply[#reply + 1] = member
    reply[#reply + 1] = changed[i + 1]
  end
end
return reply
