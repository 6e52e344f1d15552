#!lua
--[[
  claim-character: make a session the only one that plays a character.

  KEYS[1] session    string  <ns>:session:{<p>}:<session id>
  KEYS[2] character  string  <ns>:character:{<p>}:<user and character>, see lib/claim.lua
  KEYS[3] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:session:{<p>}:<id> of the sessions that have the character or are next in line; when the session's list of
           characters is full, their keys and such sessions of theirs.

  ARGV[1] sessionId    string   24
  ARGV[2] user         string   encoded user id
  ARGV[3] characterId  string   1..128 bytes, for the event
  ARGV[4] owner        string   0..128 bytes
  ARGV[5] policy       word     reject | takeover | drain
  ARGV[6] drainMs      integer  1..600000 with the policy drain, else 0

  Returns
    {'CLAIMED', session, owner, epoch, claimedAtMs, drainingUntilMs, takenFrom}
                                  the claim, and the live session that lost it; empty = none
    {'DRAINING', session, owner, epoch, claimedAtMs, drainingUntilMs, retryAfterMs}
                                  the claim that is in the way; the session is next in line
    {'HELD', session, owner, epoch, claimedAtMs, drainingUntilMs}
                                  nothing changed; the claim that is in the way, or with epoch 0 the session that is next
                                  in line for what nobody plays
    {'GONE'}                      nothing changed: the session is not there, has ended or is another user's
    {'TOO_MANY_CHARACTERS'}       nothing changed: the session holds or waits for 8 others

  Atomicity: claim, the lists of all sessions concerned and the event are one step, so no two epochs count at one time.
  Retry:     grants a newer epoch; a time to drain does not move.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
local session_key, character, keys = KEYS[1], KEYS[2], {events = KEYS[3]}
local id, user, character_id, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local policy, drain_ms = ARGV[5], tonumber(ARGV[6])
if #id == 0 or #id > 255 then return redis.error_reply('BADARG sessionId') end
if #owner > 255 then return redis.error_reply('BADARG owner') end
if policy ~= 'reject' and policy ~= 'takeover' and policy ~= 'drain' then return redis.error_reply('BADARG policy') end
if not drain_ms or (policy == 'drain') ~= (drain_ms > 0) then return redis.error_reply('BADARG drainMs') end

local session = unpack_session(redis.call('GET', session_key))
if not session_is_live(session, now_ms) or session.user ~= user then return {'GONE'} end
local session_prefix = string.sub(session_key, 1, -(#id + 1))
local claim = read_claim(character)
local state = claim_state(claim, session_prefix)
local plays = state.plays and claim.session == id
local other_plays = state.plays and not plays
local other_waits = state.waiting ~= nil and claim.next_session ~= id

local grant = plays or policy == 'takeover' or not (other_plays or other_waits)
if not grant then
  if not other_plays then
    return {'HELD', claim.next_session, claim.next_owner, '0', '0', decimal(claim.draining_until)}
  end
  if policy == 'reject' or other_waits then return {'HELD', claim_fields(claim, state)} end
end

local characters, listed = characters_of(session), false
if #characters >= MAX_CHARACTERS then
  -- what was lost without the session's doing, such as by a lost key, is only now looked for
  local held = {}
  for _, key in ipairs(characters) do
    local other = read_claim(key)
    local other_state = claim_state(other, session_prefix)
    local holds = other_state.plays and other.session == id
    local waits = other_state.waiting ~= nil and other.next_session == id
    if key == character or holds or waits then held[#held + 1] = key end
  end
  characters = held
end
for _, key in ipairs(characters) do listed = listed or key == character end
if not listed then
  if #characters >= MAX_CHARACTERS then return {'TOO_MANY_CHARACTERS'} end
  characters[#characters + 1] = character
end

if not grant then
  if not state.waiting then
    claim.next_session, claim.next_owner, claim.draining_until = id, owner, now_ms + drain_ms
    state.waiting = session
    redis.call('SET', character, pack_claim(claim), 'KEEPTTL')
    redis.call('SET', session_key, with_characters(session, characters), 'KEEPTTL')
    add_event(keys, 'type', 'character_taken', 'session', claim.session, 'user', user, 'character', character_id,
      'effective_at', decimal(claim.draining_until))
  end
  local reply = {'DRAINING', claim_fields(claim, state)}
  reply[#reply + 1] = decimal(claim.draining_until - now_ms)
  return reply
end

local taken_from = ''
if state.holder and claim.session ~= id then
  taken_from = claim.session
  forget_character(session_prefix .. taken_from, state.holder, character)
end
if not (plays and state.waiting) then
  if other_waits then forget_character(session_prefix .. claim.next_session, state.waiting, character) end
  claim.next_session, claim.next_owner, claim.draining_until = '', '', 0
  state.waiting = nil
end
claim.epoch = next_tick(claim.epoch)
claim.claimed_at, claim.session, claim.owner = now_ms, id, owner
local expires_at = session.absolute_expires_at > 0 and session.absolute_expires_at + BACKSTOP_MS
  or now_ms + CLAIM_BACKSTOP_MS
redis.call('SET', character, pack_claim(claim), 'PXAT', decimal(expires_at))
if not listed then redis.call('SET', session_key, with_characters(session, characters), 'KEEPTTL') end
if other_plays then
  add_event(keys, 'type', 'character_taken', 'session', taken_from, 'user', user, 'character', character_id)
end
local reply = {'CLAIMED', claim_fields(claim, state)}
reply[#reply + 1] = taken_from
return reply
