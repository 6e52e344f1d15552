#!lua flags=allow-oom
--[[
  touch: give a key a new expiry, whatever it holds.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV[1] ttlMs  integer  0..31536000000; 0 = no expiry

  Returns
    {1}  done
    {0}  the key holds nothing

  Atomicity: an entry's own expires_at and the key's expiry never differ.
  Retry:     safe; counts from the retry.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
local key = KEYS[1]
local ttl_ms = tonumber(ARGV[1])
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end

if not key_is_visible(key) then return {0} end

local expires_at = ttl_ms > 0 and now_ms + ttl_ms or 0
if redis.call('TYPE', key).ok == 'string' and is_entry(redis.call('GETRANGE', key, 0, ENTRY_FIXED_BYTES - 1)) then
  redis.call('SETRANGE', key, ENTRY_EXPIRES_AT, struct.pack('>I6', expires_at))
end
if expires_at > 0 then
  redis.call('PEXPIREAT', key, decimal(expires_at))
else
  redis.call('PERSIST', key)
end
return {1}
