#!lua flags=allow-oom
--[[
  unban: end a ban, and forget the denials that led to it.

  KEYS[1] standing  hash  <ns>:standing:{<subject>}

  ARGV[1] policy   string  its name in the standing; '': the ban under all policies
  ARGV[2] channel  string  where services are told; in the same slot

  Returns
    {1}  there was a ban
    {0}  there was none

  Atomicity: one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/standing.lua"
local standing = KEYS[1]
local policy, channel = ARGV[1], ARGV[2]

local field = policy == '' and 'ban' or 'ban:' .. policy
local was_banned = open_until(redis.call('HGET', standing, field))
redis.call('HDEL', standing, field)
if policy ~= '' then redis.call('HDEL', standing, 'count:' .. policy) end
redis.call('SPUBLISH', channel, standing)
return {was_banned and 1 or 0}
