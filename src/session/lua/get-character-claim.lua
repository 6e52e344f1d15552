#!lua flags=no-writes
--[[
  get-character-claim: read who plays a character.

  KEYS[1] character  string  <ns>:character:{<p>}:<user and character>, see lib/claim.lua
  Derived: <ns>:session:{<p>}:<id> of the sessions that have the character or are next in line.

  ARGV[1] sessionPrefix  string  <ns>:session:{<p>}:

  Returns
    {'PLAYED', session, owner, epoch, claimedAtMs, drainingUntilMs}  drainingUntilMs is 0 where nobody is next
    {'FREE'}

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/claim.lua"
local character = KEYS[1]
local session_prefix = ARGV[1]

local claim = read_claim(character)
local state = claim_state(claim, session_prefix)
if not state.plays then return {'FREE'} end
return {'PLAYED', claim_fields(claim, state)}
