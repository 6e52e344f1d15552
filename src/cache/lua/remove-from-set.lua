#!lua flags=allow-oom
--[[
  remove-from-set: take members out of a set.

  KEYS[1] set  set  <ns>:cache:{<key>}

  ARGV[1..n] members  bytes  1 to 256

  Returns
    {removed, size}  how many were in the set, and how many it has now; the key goes with the last one

  Errors:    WRONGTYPE where the key holds another kind.
  Atomicity: one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "lib/collection.lua"
local set = KEYS[1]

local exists, wrong_type = has_collection(set, 'set')
if wrong_type then return wrong_type end
if not exists then return {0, 0} end

local removed = redis.call('SREM', set, unpack(ARGV))
return {removed, redis.call('SCARD', set)}
