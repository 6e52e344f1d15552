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
--- @include "lib/counter.lua"
return add_to_counter(KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4])
