#!lua flags=allow-oom
--[[
  destroy-user-sessions: one step of ending a user's sessions, or of announcing their end; the first one revokes.

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
  ARGV[7] maxEnded       integer  1..200, how many sessions this step ends at most
  ARGV[8] retentionMs    integer  how long revoked_at is remembered
  ARGV[9] effectiveInMs  integer  0..86400000, from the first step; 0 = they end now
  ARGV[10] cursor        string   what the step before answered; empty = this is the first step

  Returns
    {revokedAtUs, blockedUntilMs, destroyed, cursor}  destroyed is how many it ended, or announced the end of; cursor is
                                                      empty when no other step is needed

  Atomicity: from the first step on no login proved before it gets in, so the later steps have an end.
  Retry:     safe; a new first step revokes again.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/announce-end.lua"
local revocation = KEYS[2]
local keys = {user = KEYS[1], deadlines = KEYS[3], counters = KEYS[4], events = KEYS[5]}
local user, prefix, keep_id, reason, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local block_for_ms, max_ended, retention_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local effective_in_ms, cursor = tonumber(ARGV[9]), ARGV[10]
local revoked_at_us, created_until, ends_at, behind = string.match(cursor, '^(%d+):(%d+):(%d+):(%d+)$')
if #reason > 255 then return redis.error_reply('BADARG reason') end
if #message > 65535 then return redis.error_reply('BADARG message') end
if not block_for_ms or block_for_ms < 0 then return redis.error_reply('BADARG blockForMs') end
if not max_ended or max_ended < 1 then return redis.error_reply('BADARG maxEnded') end
if not retention_ms or retention_ms < 1 then return redis.error_reply('BADARG retentionMs') end
if not effective_in_ms or effective_in_ms < 0 then return redis.error_reply('BADARG effectiveInMs') end
if cursor ~= '' and not behind then return redis.error_reply('BADARG cursor') end

local previous, blocked_until = string.match(redis.call('GET', revocation) or '0:0', '^(%d+):(%d+)$')
previous, blocked_until = tonumber(previous), tonumber(blocked_until)
local first_step = cursor == ''
if first_step then
  revoked_at_us = next_tick(previous)
  if block_for_ms > 0 then blocked_until = now_ms + block_for_ms end
  -- A session that is there was created before, also where the clock was set back since.
  local newest = redis.call('ZREVRANGE', keys.user, 0, 0, 'WITHSCORES')
  created_until = math.max(revoked_at_us, tonumber(newest[2] or 0))
  ends_at, behind = now_ms + effective_in_ms, '0'
else
  revoked_at_us, created_until, ends_at = tonumber(revoked_at_us), tonumber(created_until), tonumber(ends_at)
end

-- One more than may be ended, and one more than that for the session that stays.
local candidates = redis.call('ZRANGEBYSCORE', keys.user, '(' .. behind, decimal(created_until), 'LIMIT', 0,
  max_ended + 2)
local doomed = {}
for _, id in ipairs(candidates) do
  if id ~= keep_id then
    local session = unpack_session(redis.call('GET', prefix .. id))
    read_characters(session)
    doomed[#doomed + 1] = {id = id, session = session}
  end
end
local next_cursor = ''
if #doomed > max_ended then
  -- Announced sessions stay in the index: the next step goes on behind them. No two of a user have one creation.
  if effective_in_ms > 0 then behind = redis.call('ZSCORE', keys.user, doomed[max_ended].id) end
  next_cursor = table.concat({decimal(revoked_at_us), decimal(created_until), decimal(ends_at), behind}, ':')
end

if first_step then
  local remember_until = math.max(now_ms + retention_ms, blocked_until)
  redis.call('SET', revocation, decimal(revoked_at_us) .. ':' .. decimal(blocked_until), 'PXAT', decimal(remember_until))
end
-- What is announced ends at one moment, whichever step comes to it.
local wanted = {cause = CAUSE_DESTROYED, ended_at = math.max(ends_at, now_ms), reason = reason, message = message}
local destroyed = 0
for index = 1, math.min(#doomed, max_ended) do
  local id, session = doomed[index].id, doomed[index].session
  local live = session_is_live(session, now_ms)
  if live and wanted.ended_at > now_ms then
    if announce_end(keys, prefix .. id, id, user, session, wanted) then destroyed = destroyed + 1 end
  else
    end_session(keys, prefix .. id, id, user, session, live and wanted or expired_ending(session, now_ms))
    if live then destroyed = destroyed + 1 end
  end
end
return {decimal(revoked_at_us), decimal(blocked_until), destroyed, next_cursor}
