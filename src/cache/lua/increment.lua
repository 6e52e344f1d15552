#!lua
--[[
  increment: add to a signed 64-bit counter, within bounds.

  KEYS[1] counter  string  <ns>:cache:{<key>}, a bare decimal integer

  ARGV[1] delta    integer  decimal, -2^63..2^63-1
  ARGV[2] ttlMs    integer  0..31536000000, for a counter that is created; 0 = no expiry
  ARGV[3] floor    integer  decimal, -2^63..2^63-1; empty = none
  ARGV[4] ceiling  integer  decimal, -2^63..2^63-1; empty = none

  Returns
    {'APPLIED', value}   added; value is a decimal string
    {'REFUSED', value}   the sum is outside floor and ceiling; the value that is there, '0' where there is none
    {'OVERFLOW', value}  the sum is no signed 64-bit integer; the value that is there

  Errors:    WRONGTYPE where the key holds an entry or a collection.
  Atomicity: bounds, sum and the expiry of a new counter are one step.
  Retry:     counts again.    Clock: Redis's own expiry.
]]
--- @include "lib/int64.lua"
local counter = KEYS[1]
local delta, ttl_ms = int64_parse(ARGV[1]), tonumber(ARGV[2])
local floor = ARGV[3] ~= '' and int64_parse(ARGV[3]) or nil
local ceiling = ARGV[4] ~= '' and int64_parse(ARGV[4]) or nil
if not delta then return redis.error_reply('BADARG delta') end
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
if ARGV[3] ~= '' and not floor then return redis.error_reply('BADARG floor') end
if ARGV[4] ~= '' and not ceiling then return redis.error_reply('BADARG ceiling') end

local stored = redis.call('GET', counter)
local digits = stored or '0'
local value = int64_parse(digits)
if not value or not int64_fits(value) then return redis.error_reply('WRONGTYPE the key holds another kind of thing') end

local sum = int64_add(value, delta)
if not int64_fits(sum) then return {'OVERFLOW', digits} end
if (floor and int64_less(sum, floor)) or (ceiling and int64_less(ceiling, sum)) then return {'REFUSED', digits} end

redis.call('INCRBY', counter, ARGV[1])
if not stored and ttl_ms > 0 then redis.call('PEXPIRE', counter, ttl_ms) end
-- read back, because INCRBY's reply reaches Lua as a double
return {'APPLIED', redis.call('GET', counter)}
