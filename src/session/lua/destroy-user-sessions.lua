#!lua flags=allow-oom
--[[
  destroy-user-sessions: one step of ending a user's sessions; the first one revokes.

  KEYS[1] user        zset    <ns>:user:{<p>}:<user>  session ids by creation
  KEYS[2] revocation  string  <ns>:revocation:{<p>}:<user>  "<revoked_at µs>:<blocked_until ms>"
  KEYS[3] deadlines   zset    <ns>:sessions:{<p>}:deadlines
  KEYS[4] counters    hash    <ns>:sessions:{<p>}:counters
  KEYS[5] events      stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:session:{<p>}:<id> of the user's sessions; their claims.

  ARGV[1] user           string   encoded user id
  ARGV[2] sessionPrefix  string   <ns>:session:{<p>}:
  ARGV[3] keepId         string   a session that stays; empty = none
  ARGV[4] reason         string   0..64 bytes
  ARGV[5] message        string   0..256 bytes
  ARGV[6] blockForMs     integer  0..31536000000; 0 = leave the block as it is
  ARGV[7] revokedAtUs    integer  what the first step answered; 0 = this is the first step
  ARGV[8] maxEnded       integer  1..200, how many sessions this step ends at most
  ARGV[9] retentionMs    integer  how long revoked_at is remembered

  Returns
    {revokedAtUs, blockedUntilMs, destroyed, more}  more is 1 when another step is needed

  Atomicity: from the first step on no login proved before it gets in, so the later steps have an end.
  Retry:     safe; a new first step revokes again.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
local revocation = KEYS[2]
local keys = {user = KEYS[1], deadlines = KEYS[3], counters = KEYS[4], events = KEYS[5]}
local user, prefix, keep_id, reason, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local block_for_ms, revoked_at_us = tonumber(ARGV[6]), tonumber(ARGV[7])
local max_ended, retention_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
if #reason > 255 then return redis.error_reply('BADARG reason') end
if #message > 65535 then return redis.error_reply('BADARG message') end
if not block_for_ms or block_for_ms < 0 then return redis.error_reply('BADARG blockForMs') end
if not revoked_at_us or revoked_at_us < 0 then return redis.error_reply('BADARG revokedAtUs') end
if not max_ended or max_ended < 1 then return redis.error_reply('BADARG maxEnded') end
if not retention_ms or retention_ms < 1 then return redis.error_reply('BADARG retentionMs') end

local previous, blocked_until = string.match(redis.call('GET', revocation) or '0:0', '^(%d+):(%d+)$')
previous, blocked_until = tonumber(previous), tonumber(blocked_until)
local first_step = revoked_at_us == 0
if first_step then
  revoked_at_us = next_tick(previous)
  if block_for_ms > 0 then blocked_until = now_ms + block_for_ms end
end

-- One more than may be ended, and one more than that for the session that stays.
local candidates = redis.call('ZRANGEBYSCORE', keys.user, '-inf', decimal(revoked_at_us), 'LIMIT', 0, max_ended + 2)
local doomed = {}
for _, id in ipairs(candidates) do
  if id ~= keep_id then
    local session = unpack_session(redis.call('GET', prefix .. id))
    read_characters(session)
    doomed[#doomed + 1] = {id = id, session = session}
  end
end

if first_step then
  local remember_until = math.max(now_ms + retention_ms, blocked_until)
  redis.call('SET', revocation, decimal(revoked_at_us) .. ':' .. decimal(blocked_until), 'PXAT', decimal(remember_until))
end
local destroyed = 0
for index = 1, math.min(#doomed, max_ended) do
  local id, session = doomed[index].id, doomed[index].session
  local live = session_is_live(session, now_ms)
  local ending = live and {cause = CAUSE_DESTROYED, ended_at = now_ms, reason = reason, message = message}
    or expired_ending(session, now_ms)
  end_session(keys, prefix .. id, id, user, session, ending)
  if live then destroyed = destroyed + 1 end
end
return {decimal(revoked_at_us), decimal(blocked_until), destroyed, #doomed > max_ended and 1 or 0}
