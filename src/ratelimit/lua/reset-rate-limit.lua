#!lua flags=allow-oom
--[[
  reset-rate-limit: forget what was charged to one limit, and what its denials led to.

  KEYS[1] standing  hash            <ns>:standing:{<subject>}
  KEYS[2] record    string or ZSET  of the limit

  ARGV[1] policy   string  its name in the standing
  ARGV[2] channel  string  where services are told; in the same slot

  Returns
    {1}  something had been charged, or the subject was denied because of its denials
    {0}  nothing had

  Atomicity: one step.
  Retry:     safe.    Clock: none.
]]
local standing, record = KEYS[1], KEYS[2]
local policy, channel = ARGV[1], ARGV[2]

local removed = redis.call('UNLINK', record)
removed = removed + redis.call('HDEL', standing, 'block:' .. policy, 'count:' .. policy)
local ban = redis.call('HGET', standing, 'ban:' .. policy)
if ban and cmsgpack.unpack(ban)[4] > 0 then removed = removed + redis.call('HDEL', standing, 'ban:' .. policy) end
redis.call('SPUBLISH', channel, standing)
return {removed > 0 and 1 or 0}
