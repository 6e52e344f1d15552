#!lua flags=allow-oom
--[[
  renew-lock: a stream makes the lease of a lock that it keeps last longer.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] stream            text     the stream that keeps it, not empty
  ARGV[3] ttlMs             integer  1..3600000, from now; a lease that ends later stays
  ARGV[4] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lease

  Returns
    {'DONE'}               the token holds the resource for so long
    {'TAKEN_OVER'}         it does, and another stream keeps it or none does; nothing changed
    {'NOT_HOLDER', fence}  it does not (any more); nothing changed; the highest fencing token that is known, 0 = none
    {'NOT_HOLDER', fence, forced_fence, reason}
                           the same, and the fence that ForceReleaseLock set last, and what was said to it

  Atomicity: the look and the new end are one step, so a lease that is over never comes back to life, and a stream that was
             cut off does not lengthen what its successor gave up.
  Retry:     safe; counts from the retry.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
local lock = KEYS[1]
local lock_token, stream, ttl_ms = ARGV[1], ARGV[2], whole_number(ARGV[3], 1, MAX_TTL_MS)
local fence_retention_ms = whole_number(ARGV[4], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if stream == '' then return redis.error_reply('BADARG stream') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state, held, forced = read_lock(lock, 'h:' .. lock_token, 'forced')
local holder = live_holder(held)
if not holder then
  local forced_fence, reason = string.match(forced or '', '^(%d+) (.*)$')
  if not forced_fence then return {'NOT_HOLDER', decimal(state.fence)} end
  return {'NOT_HOLDER', decimal(state.fence), forced_fence, reason}
end
if holder[HOLDER_STREAM] ~= stream then return {'TAKEN_OVER'} end
move_end(state, lock_token, holder, math.max(holder[HOLDER_EXPIRES_AT], now_ms + ttl_ms))
write_lock(lock, state, fence_retention_ms)
return {'DONE'}
