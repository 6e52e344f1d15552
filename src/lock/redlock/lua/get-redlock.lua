#!lua flags=no-writes
--[[
  get-redlock: tell whether a lock of npm `redlock` is held.

  KEYS[1] lock  string  <prefix><resource>

  ARGV none

  Returns
    {'HELD', holder, until_ms, left_ms}  times in ms integers; `holder` is the SHA-1 of the key's value in hex
    {'FREE'}                             there is no such key
    {'FOREIGN'}                          the key is no lock

  Atomicity: one look.
  Retry:     safe.    Clock: Redis's, in the time that is left.
]]
--- @include "lib/redlock.lua"
local lock = KEYS[1]
local left_ms = redis.call('PTTL', lock)
if left_ms == -2 then return {'FREE'} end
if left_ms == -1 or not is_text(lock) then return {'FOREIGN'} end
return {'HELD', redis.sha1hex(redis.call('GET', lock)), redis.call('PEXPIRETIME', lock), math.max(1, left_ms)}
