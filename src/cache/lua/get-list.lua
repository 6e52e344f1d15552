#!lua flags=no-writes
--[[
  get-list: read items of a list from one end on.

  KEYS[1] list  list  <ns>:cache:{<key>}

  ARGV[1] side      word     head | tail, the end to count from
  ARGV[2] offset    integer  0..4294967295, items left out at that end
  ARGV[3] limit     integer  1..1000, the most items
  ARGV[4] maxBytes  integer  1..; the most bytes they have together, unless it is only one

  Returns
    {length, item, …}  how many items the list has, and those asked for, the one nearest to the end first

  Errors:    WRONGTYPE where the key holds another kind.
  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "lib/collection.lua"
local list = KEYS[1]
local side, offset, limit, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- In one LRANGE, so that an answer of the largest items (64 KiB) reads only twice as much as it may hold.
local STEP = 32
if side ~= 'head' and side ~= 'tail' then return redis.error_reply('BADARG side') end
if not offset or offset < 0 then return redis.error_reply('BADARG offset') end
if not limit or limit < 1 then return redis.error_reply('BADARG limit') end
if not max_bytes or max_bytes < 1 then return redis.error_reply('BADARG maxBytes') end

local exists, wrong_type = has_collection(list, 'list')
if wrong_type then return wrong_type end
if not exists then return {0} end

local length = redis.call('LLEN', list)
local reply, bytes = {length}, 0
local stop = math.min(offset + limit, length)
for at = offset, stop - 1, STEP do
  local count = math.min(STEP, stop - at)
  local first = side == 'head' and at or length - at - count
  local items = redis.call('LRANGE', list, first, first + count - 1)
  for i = 1, count do
    local item = items[side == 'head' and i or count + 1 - i]
    bytes = bytes + #item
    if bytes > max_bytes and #reply > 1 then return reply end
    reply[#reply + 1] = item
  end
end
return reply
