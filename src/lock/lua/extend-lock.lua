#!lua flags=allow-oom
--[[
  extend-lock: set the end of a lease, later or earlier than it was.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] ttlMs             integer  1..3600000, from now
  ARGV[3] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lease

  Returns
    {'DONE', expires_at_ms}  the token holds the resource until then; an integer
    {'NOT_HOLDER'}           it does not (any more); nothing changed

  Atomicity: the look and the new end are one step, so a lease that is over never comes back to life.
  Retry:     safe; counts from the retry.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, ttl_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_TTL_MS)
local fence_retention_ms = whole_number(ARGV[3], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state, held = read_lock(lock, 'h:' .. lock_token)
local holder = live_holder(held)
if not holder then return {'NOT_HOLDER'} end
local is_earlier = now_ms + ttl_ms < holder[HOLDER_EXPIRES_AT]
move_end(state, lock_token, holder, now_ms + ttl_ms)
write_lock(lock, state, fence_retention_ms)
if is_earlier then tell_next(lock, state, '') end
return {'DONE', holder[HOLDER_EXPIRES_AT]}
