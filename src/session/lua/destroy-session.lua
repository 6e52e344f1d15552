#!lua flags=allow-oom
--[[
  destroy-session: end one session, or announce that it will end.

  KEYS[1] session    string  <ns>:session:{<p>}:<session id>
  KEYS[2] deadlines  zset    <ns>:sessions:{<p>}:deadlines
  KEYS[3] counters   hash    <ns>:sessions:{<p>}:counters
  KEYS[4] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:user:{<p>}:<user>, the user being known only from the record; the session's claims.

  ARGV[1] sessionId      string   24
  ARGV[2] userPrefix     string   <ns>:user:{<p>}:
  ARGV[3] reason         string   0..64 bytes
  ARGV[4] message        string   0..256 bytes
  ARGV[5] effectiveInMs  integer  0..86400000; 0 = it ends now

  Returns
    {'DESTROYED'}  this call ended it, or announced its end
    {'UNCHANGED'}  an end as early was announced before
    {'GONE'}       nothing there, or it had ended before; one past its deadline is ended as that says

  Atomicity: record, indexes, counters and the one terminal event agree.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/announce-end.lua"
local session_key = KEYS[1]
local id, user_prefix, reason, message, effective_in_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if #reason > 255 then return redis.error_reply('BADARG reason') end
if #message > 65535 then return redis.error_reply('BADARG message') end
if not effective_in_ms or effective_in_ms < 0 then return redis.error_reply('BADARG effectiveInMs') end

local session = unpack_session(redis.call('GET', session_key))
if not session then return {'GONE'} end
local keys = {user = user_prefix .. session.user, deadlines = KEYS[2], counters = KEYS[3], events = KEYS[4]}
redis.call('EXISTS', keys.user)
read_characters(session)

local live = session_is_live(session, now_ms)
local wanted = {cause = CAUSE_DESTROYED, ended_at = now_ms + effective_in_ms, reason = reason, message = message}
if live and effective_in_ms > 0 then
  return {announce_end(keys, session_key, id, session.user, session, wanted) and 'DESTROYED' or 'UNCHANGED'}
end
end_session(keys, session_key, id, session.user, session, live and wanted or expired_ending(session, now_ms))
return {live and 'DESTROYED' or 'GONE'}
