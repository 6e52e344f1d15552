#!lua flags=allow-oom
--[[
  revoke-partition: from now on refuse logins to a partition that were proved before, and mark the sessions that are there
  for destroy-partition-sessions.

  KEYS[1] deadlines  zset  <ns>:sessions:{<p>}:deadlines
  KEYS[2] counters   hash  <ns>:sessions:{<p>}:counters

  ARGV[1] reason   string  0..64 bytes
  ARGV[2] message  string  0..256 bytes

  Returns
    {notBeforeUs}  a logical clock: every session of the partition was created before it, and none will be again

  Atomicity: a session is created before, and marked, or behind.
  Retry:     safe; revokes again.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/not-before.lua"
local deadlines, counters = KEYS[1], KEYS[2]
local reason, message = ARGV[1], ARGV[2]
if #reason > 255 then return redis.error_reply('BADARG reason') end
if #message > 65535 then return redis.error_reply('BADARG message') end

local previous = redis.call('HMGET', counters, 'not_before', 'last_created')
-- Later than the newest session, also where the clock was set back since.
local not_before = next_tick(math.max(tonumber(previous[1] or 0), tonumber(previous[2] or 0)))
redis.call('HSET', counters, 'not_before', decimal(not_before), 'destroy_reason', reason, 'destroy_message', message)
redis.call('ZADD', deadlines, decimal(now_ms + DESTROY_GRACE_MS), DESTROY_MARKER)
return {decimal(not_before)}
