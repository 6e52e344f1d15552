#!lua flags=allow-oom
--[[
  release-character: give a claim up.

  KEYS[1] character  string  <ns>:character:{<p>}:<user and character>, see lib/claim.lua
  Derived: <ns>:session:{<p>}:<id> of the sessions that have the character or are next in line.

  ARGV[1] epoch          integer  1..2^53-1
  ARGV[2] sessionPrefix  string   <ns>:session:{<p>}:

  Returns
    {'RELEASED'}  the epoch was that of the current claim; whoever is next in line stays so
    {'OTHER'}     nothing changed

  Atomicity: the claim and the list of its session are one step.
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

forget_character(session_prefix .. claim.session, state.holder, character)
claim.session, claim.owner, claim.claimed_at = '', '', 0
redis.call('SET', character, pack_claim(claim), 'PX', CLAIM_TOMBSTONE_MS)
return {'RELEASED'}
