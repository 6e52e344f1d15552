#!lua flags=no-writes
--[[
  check-character-claim: tell whether an epoch is that of the current claim.

  KEYS[1] character  string  <ns>:character:{<p>}:<user and character>, see lib/claim.lua
  Derived: <ns>:session:{<p>}:<id> of the sessions that have the character or are next in line.

  ARGV[1] epoch          integer  1..2^53-1
  ARGV[2] sessionPrefix  string   <ns>:session:{<p>}:

  Returns
    {'VALID', drainingUntilMs}  0 where nobody is next
    {'OTHER'}

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/claim.lua"
local character = KEYS[1]
local epoch, session_prefix = tonumber(ARGV[1]), ARGV[2]
if not epoch or epoch < 1 then return redis.error_reply('BADARG epoch') end

local claim = read_claim(character)
local state = claim_state(claim, session_prefix)
if not state.plays or claim.epoch ~= epoch then return {'OTHER'} end
return {'VALID', decimal(state.waiting and claim.draining_until or 0)}
