#!lua
--[[
  acquire-redlock: take locks as npm `redlock` does, all or none.

  KEYS[1..n] locks  string  <prefix><resource>, one a lock, none twice

  ARGV[1] lockToken  text     32 of [A-Za-z0-9_-]: who asks
  ARGV[2] ttlMs      integer  1..3600000

  Returns
    {'GRANTED', until_ms, left_ms}              all were free
    {'AGAIN', until_ms, left_ms}                the token had some or all of them already, those with their lease; the
                                                earliest end
    {'HELD', index, holder, until_ms, left_ms}  another has the key of this number; nothing changed
    {'FOREIGN', index}                          the key of this number is no lock; nothing changed
      Times are integers, indexes count from 1; `holder` is the SHA-1 of the key's value in hex, which tells holders apart
      and lets nobody act in their place.

  An answer AGAIN makes the expiry of what was there odd: see lib/redlock.lua.
  Atomicity: nobody sees some of the locks taken.
  Retry:     safe: the same lock token has the same locks.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/redlock.lua"
local lock_token, ttl_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_TTL_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end

local ends = {}
for index, key in ipairs(KEYS) do
  local left_ms = redis.call('PTTL', key)
  if left_ms == -1 or (left_ms >= 0 and not is_text(key)) then return {'FOREIGN', index} end
  if left_ms >= 0 then
    local value, until_ms = redis.call('GET', key), redis.call('PEXPIRETIME', key)
    if value ~= lock_token then return {'HELD', index, redis.sha1hex(value), until_ms, math.max(1, left_ms)} end
    ends[index] = until_ms
  end
end

local until_ms, status = now_ms + ttl_ms, 'GRANTED'
until_ms = until_ms + until_ms % 2
local first_end_ms = until_ms
for index, key in ipairs(KEYS) do
  local end_ms = ends[index]
  if end_ms then
    status = 'AGAIN'
    if end_ms % 2 == 0 then end_ms = end_ms + 1 end
    redis.call('PEXPIREAT', key, decimal(end_ms))
    first_end_ms = math.min(first_end_ms, end_ms)
  else
    redis.call('SET', key, lock_token, 'PXAT', decimal(until_ms))
  end
end
return {status, first_end_ms, math.max(1, first_end_ms - now_ms)}
