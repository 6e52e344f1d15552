#!lua flags=allow-oom
--[[
  release-redlock: give locks back.

  KEYS[1..n] locks  string  <prefix><resource>, one a lock, none twice

  ARGV[1] lockToken  text  32 of [A-Za-z0-9_-]

  Returns
    {'DONE', had...}  for each key 1 where the token had it, and does no more, and else 0, where nothing changed

  Atomicity: the look and the removal are one step, so a lock that just went to another is not touched.
  Retry:     safe; the second try finds none of them.    Clock: none.
]]
--- @include "lib/redlock.lua"
local lock_token = ARGV[1]
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end

local reply = {'DONE'}
for index, key in ipairs(KEYS) do
  reply[index + 1] = is_held_by(key, lock_token) and 1 or 0
end
for index, key in ipairs(KEYS) do
  if reply[index + 1] == 1 then redis.call('DEL', key) end
end
return reply
