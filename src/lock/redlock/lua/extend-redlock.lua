#!lua flags=allow-oom
--[[
  extend-redlock: set the end of leases, later or earlier than it was.

  KEYS[1..n] locks  string  <prefix><resource>, one a lock, none twice

  ARGV[1] lockToken  text     32 of [A-Za-z0-9_-]
  ARGV[2] ttlMs      integer  1..3600000, from now

  Returns
    {'DONE', until_ms, had...}  for each key 1 where the token has it, which ends then, and else 0, where nothing changed

  The expiry becomes odd: see lib/redlock.lua.
  Atomicity: the look and the change are one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/redlock.lua"
local lock_token, ttl_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_TTL_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end

local until_ms = now_ms + ttl_ms
if until_ms % 2 == 0 then until_ms = until_ms + 1 end
local reply = {'DONE', until_ms}
for index, key in ipairs(KEYS) do
  reply[index + 2] = is_held_by(key, lock_token) and 1 or 0
end
for index, key in ipairs(KEYS) do
  if reply[index + 2] == 1 then redis.call('PEXPIREAT', key, decimal(until_ms)) end
end
return reply
