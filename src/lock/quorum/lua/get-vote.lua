#!lua flags=no-writes
--[[
  get-vote: tell who has this master's vote for a lock.

  KEYS[1] lock    hash  <ns>:lock:{<resource>}
  KEYS[2] marker  hash  <ns>:quorum

  ARGV none

  Returns
    {'HELD', lock_token, owner, fence, since_ms, until_ms, left_ms}
    {'FREE', fence}  nobody has it
    {'AMNESIA'}      this master may have forgotten votes
      Fences are decimal strings, '0' where none is known; times in ms integers.

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock, marker = KEYS[1], KEYS[2]
if not is_admitted(marker) then return {'AMNESIA'} end
local stored = redis.call('HMGET', lock, 'fence', 'vote', 'vote_until', 'vote_since', 'vote_owner')
local vote_until = tonumber(stored[3] or 0)
if not stored[2] or vote_until <= now_ms then return {'FREE', stored[1] or '0'} end
return {'HELD', stored[2], stored[5], stored[1], tonumber(stored[4]), vote_until, vote_until - now_ms}
