#!lua
--[[
  push-to-list: put items at one end of a list, and trim it at the other.

  KEYS[1] list  list  <ns>:cache:{<key>}

  ARGV[1] side           word     head | tail
  ARGV[2] ttlMs          integer  0..31536000000, for a list that is created or refreshed; 0 = no expiry
  ARGV[3] refreshExpiry  integer  1 = a list that is there gets the expiry too; 0 = it keeps its own
  ARGV[4] maxLength      integer  0..1000000; 0 = no limit
  ARGV[5..n] items       bytes    1 to 256, pushed one after the other

  Returns
    {length, trimmed}  how many items the list has now, and how many went at the other end

  Errors:    WRONGTYPE where the key holds another kind, or the fence of a deleted entry.
  Atomicity: the items, the trim and the expiry of a new list are one step.
  Retry:     pushes again.    Clock: Redis's own expiry.
  A lease on the key is void afterwards.
]]
--- @include "lib/collection.lua"
local list = KEYS[1]
local side, ttl_ms, refresh_expiry, max_length = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
if side ~= 'head' and side ~= 'tail' then return redis.error_reply('BADARG side') end
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
if not max_length or max_length < 0 then return redis.error_reply('BADARG maxLength') end
if #ARGV < 5 then return redis.error_reply('BADARG items') end

local exists, wrong_type = has_collection_or_room(list, 'list')
if wrong_type then return wrong_type end

if not exists then redis.call('UNLINK', list) end
local length
if side == 'head' then
  length = redis.call('LPUSH', list, unpack(ARGV, 5))
else
  length = redis.call('RPUSH', list, unpack(ARGV, 5))
end
if not exists or refresh_expiry then set_expiry(list, ttl_ms) end

if max_length == 0 or length <= max_length then return {length, 0} end
if side == 'head' then
  redis.call('LTRIM', list, 0, max_length - 1)
else
  redis.call('LTRIM', list, -max_length, -1)
end
return {max_length, length - max_length}
