#!lua flags=allow-oom
--[[
  touch: give a key a new expiry, whatever it holds.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV[1] ttlMs  integer  0..31536000000; 0 = no expiry

  Returns
    {1}  done
    {0}  the key holds nothing

  Atomicity: an entry's own expires_at and the key's expiry change in one step.
  Retry:     safe; counts from the retry.    Clock: Redis TIME.
  How long an entry is fresh does not change.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local key = KEYS[1]
local ttl_ms = tonumber(ARGV[1])
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end

local header, wrong_type = read_entry(key)
if not wrong_type and not (header and header.visible) then return {0} end

local expires_at = ttl_ms > 0 and now_ms + ttl_ms or 0
local key_expires_at = expires_at
if header then
  redis.call('SETRANGE', key, ENTRY_EXPIRES_AT, struct.pack('>I6', expires_at))
  key_expires_at = key_until(expires_at, header.fields)
end
if key_expires_at > 0 then
  redis.call('PEXPIREAT', key, decimal(key_expires_at))
else
  redis.call('PERSIST', key)
end
return {1}
