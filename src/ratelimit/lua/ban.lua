#!lua
--[[
  ban: deny a subject everything, or everything under one policy, for a time.

  KEYS[1] standing  hash  <ns>:standing:{<subject>}

  ARGV[1] policy   string   its name in the standing; '': all policies
  ARGV[2] ttlMs    integer  1..31536000000
  ARGV[3] reason   string   for people

  Returns
    {expires_at_ms}

  Atomicity: one write.
  Retry:     safe: the time begins anew.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/standing.lua"
local standing = KEYS[1]
local policy, ttl_ms, reason = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if not ttl_ms or ttl_ms < 1 then return redis.error_reply('BADARG ttlMs') end

local until_ms = now_ms + ttl_ms
local field = policy == '' and 'ban' or 'ban:' .. policy
save_standing(standing, field, {until_ms * 1000, ttl_ms * 1000, reason, 0}, until_ms * 1000)
return {until_ms}
