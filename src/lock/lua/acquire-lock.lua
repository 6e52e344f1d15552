#!lua
--[[
  acquire-lock: take a resource alone if nobody holds it.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-], new and random: the token if this call is granted
  ARGV[2] ttlMs             integer  1..3600000
  ARGV[3] owner             text     up to 128 bytes
  ARGV[4] requestId         text     16..128 bytes; empty = none
  ARGV[5] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lease

  Returns
    {'GRANTED', lock_token, fencing_token, expires_at_ms}
      a new grant, or the live one of the same requestId as it stands (then only its `answers` is counted up)
    {'HELD', owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms}
      nothing changed; of several holders the one whose lease ends last
      Fencing tokens are decimal strings, times in ms integers.

  Atomicity: the look, the grant, the fencing token and the key's expiry are one step.
  Retry:     safe with a requestId; without one it finds its own first grant.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/holders.lua"
local lock = KEYS[1]
local lock_token, owner, request_id = ARGV[1], ARGV[3], ARGV[4]
local ttl_ms = whole_number(ARGV[2], 1, MAX_TTL_MS)
local fence_retention_ms = whole_number(ARGV[5], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if #owner > 128 then return redis.error_reply('BADARG owner') end
if request_id ~= '' and (#request_id < 16 or #request_id > 128) then return redis.error_reply('BADARG requestId') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local fence, holders, dead_fields, exists = read_lock(lock)

local last
for _, holder in ipairs(holders) do
  local record = holder.record
  if request_id ~= '' and record[HOLDER_REQUEST_ID] == request_id then
    record[HOLDER_ANSWERS] = record[HOLDER_ANSWERS] + 1
    write_holder(lock, holder.lock_token, record)
    return {'GRANTED', holder.lock_token, record[HOLDER_FENCING_TOKEN], record[HOLDER_EXPIRES_AT]}
  end
  if not last or record[HOLDER_EXPIRES_AT] > last[HOLDER_EXPIRES_AT] then last = record end
end
if last then return append_holder({'HELD'}, last) end

local fencing_token = decimal(next_tick(fence))
local expires_at = now_ms + ttl_ms
for _, field in ipairs(dead_fields) do
  redis.call('HDEL', lock, field)
end
local record = cmsgpack.pack({ALL_PERMITS, expires_at, now_ms, fencing_token, owner, request_id, 1})
redis.call('HSET', lock, 'fence', fencing_token, HOLDER_PREFIX .. lock_token, record)
if exists then
  keep_lock_until(lock, expires_at + fence_retention_ms)
else
  redis.call('PEXPIREAT', lock, decimal(expires_at + fence_retention_ms))
end
return {'GRANTED', lock_token, fencing_token, expires_at}
