#!lua
--[[
  override-rate-limit: give one subject another limit under a policy, for a time.

  KEYS[1] standing  hash  <ns>:standing:{<subject>}

  ARGV[1] policy   string   its name in the standing
  ARGV[2] limit    integer  1..10^9; 0: the policy's own again
  ARGV[3] ttlMs    integer  1..31536000000
  ARGV[4] channel  string   where services are told; in the same slot

  Returns
    {expires_at_ms}  0 where the policy's own holds again

  Atomicity: one step.
  Retry:     safe: the time begins anew.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/standing.lua"
local standing = KEYS[1]
local policy, limit, ttl_ms, channel = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if not limit or limit < 0 or limit > 1000000000 then return redis.error_reply('BADARG limit') end
if not ttl_ms or ttl_ms < 1 then return redis.error_reply('BADARG ttlMs') end

local until_ms = 0
if limit == 0 then
  redis.call('HDEL', standing, 'limit:' .. policy)
else
  until_ms = now_ms + ttl_ms
  save_standing(standing, 'limit:' .. policy, {limit, until_ms * 1000}, until_ms * 1000)
end
redis.call('SPUBLISH', channel, standing)
return {until_ms}
