-- What one master of a quorum knows of a lock is one hash, <ns>:lock:{<resource>}. Its fields:
--
--   fence         decimal string: the highest fencing token that this master has answered or was raised to; never falls
--   vote          the lock token that has this master's vote; absent = none has
--   vote_until    Unix ms: a vote with vote_until <= now is over
--   vote_since    Unix ms
--   vote_owner    text
--   vote_rounds   the rounds that were answered with this vote and did not give it back, ROUND_BYTES each
--
-- The key expires a fence retention after the vote. What a master has forgotten does no harm, because no proposal is more
-- than a clock skew behind its clock, and no fence was more than that ahead of it: what the caller sees to is that it
-- forgets nothing that is younger than two clock skews (the fence retention; for all keys at once the quarantine).
--
-- Whether the master votes at all is in <ns>:quorum; admit-master.lua has its fields. Needs clock.lua before it.
--- @include "../../../lua/lib/arguments.lua"
local ROUND_BYTES = 8
local MAX_ROUNDS = 16
local MAX_TOKEN = 9007199254740991
local MAX_SKEW_US = 60000000

local function is_round(text)
  return #text == ROUND_BYTES and string.find(text, '^[%w_-]+$') ~= nil
end

local function is_admitted(marker)
  return redis.call('HGET', marker, 'admitted') == '1'
end

-- How far a time in µs is ahead of this master's clock, in whole ms and below 0 behind it; nil where it is no more than
-- `max_skew_us` off.
local function skew_ms(at_us, max_skew_us)
  local ahead_us = at_us - now_us
  if math.abs(ahead_us) <= max_skew_us then return nil end
  return math.floor(ahead_us / 1000)
end

-- Takes the vote from whoever has it; the fence stays.
local function drop_vote(lock, fence_retention_ms)
  redis.call('HDEL', lock, 'vote', 'vote_until', 'vote_since', 'vote_owner', 'vote_rounds')
  redis.call('PEXPIREAT', lock, decimal(now_ms + fence_retention_ms))
end
