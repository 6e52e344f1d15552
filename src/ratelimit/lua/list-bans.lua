#!lua flags=no-writes
--[[
  list-bans: the bans of a subject that are not over.

  KEYS[1] standing  hash  <ns>:standing:{<subject>}

  ARGV none

  Returns
    {policy, expires_at_ms, reason, step, …}  for each ban; policy '': all of them; step of the policy's ladder, or 0

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/standing.lua"
local standing = KEYS[1]

local reply = {}
local fields = redis.call('HGETALL', standing)
for at = 1, #fields, 2 do
  local policy = fields[at] == 'ban' and '' or string.match(fields[at], '^ban:(.*)$')
  local until_us = policy and open_until(fields[at + 1])
  if until_us then
    local ban = cmsgpack.unpack(fields[at + 1])
    for _, value in ipairs({policy, math.floor(until_us / 1000), ban[3], ban[4]}) do reply[#reply + 1] = value end
  end
end
return reply
