#!lua flags=allow-oom
--[[
  give-back-redlock: undo one answer that granted locks, unless anybody was answered with them since.

  KEYS[1..n] locks  string  <prefix><resource>, one a lock, none twice

  ARGV[1] lockToken  text     32 of [A-Za-z0-9_-], as they were granted
  ARGV[2] untilMs    integer  0..2^53-1, the end of the leases as it was answered

  Returns
    {'DONE', had...}  for each key 1 where it was as it was granted, and is free now, and else 0, where nothing changed

  This is no release: with a request id the same caller may have tried again meanwhile and hold the locks by that answer,
  which left another expiry behind.
  Atomicity: the look and the removal are one step.
  Retry:     safe; the second try finds none of them.    Clock: none.
]]
--- @include "lib/redlock.lua"
local lock_token, until_ms = ARGV[1], whole_number(ARGV[2], 0, 9007199254740991)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not until_ms then return redis.error_reply('BADARG untilMs') end

local reply = {'DONE'}
for index, key in ipairs(KEYS) do
  local is_as_granted = is_held_by(key, lock_token) and redis.call('PEXPIRETIME', key) == until_ms
  reply[index + 1] = is_as_granted and 1 or 0
end
for index, key in ipairs(KEYS) do
  if reply[index + 1] == 1 then redis.call('DEL', key) end
end
return reply
