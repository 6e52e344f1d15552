#!lua flags=allow-oom
--[[
  destroy-by-token: end the session that a secret opens, or that it was stolen from.

  KEYS[1] session    string  <ns>:session:{<p>}:<session id>
  KEYS[2] deadlines  zset    <ns>:sessions:{<p>}:deadlines
  KEYS[3] counters   hash    <ns>:sessions:{<p>}:counters
  KEYS[4] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:user:{<p>}:<user>, the user being known only from the record; the session's claims.

  ARGV[1] sessionId   string  24
  ARGV[2] userPrefix  string  <ns>:user:{<p>}:
  ARGV[3] secretHash  bytes   32, SHA-256 of the secret presented
  ARGV[4] why         word    replaced: the secret opens it, and another session takes its place
                              reused: the secret was rotated longer ago than the grace

  Returns
    {'DESTROYED'}  this call ended it
    {'KEPT'}       nothing changed; not live, or the secret is nothing of the kind

  Atomicity: the secret is looked at again in the step that ends the session, and there is one terminal event.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/rotation.lua"
local session_key = KEYS[1]
local id, user_prefix, secret_hash, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if #secret_hash ~= 32 then return redis.error_reply('BADARG secretHash') end
if why ~= 'replaced' and why ~= 'reused' then return redis.error_reply('BADARG why') end

local session = unpack_session(redis.call('GET', session_key))
if not session_is_live(session, now_ms) then return {'KEPT'} end
local standing = standing_of(session, secret_hash, now_ms)
local keys = {user = user_prefix .. session.user, deadlines = KEYS[2], counters = KEYS[3], events = KEYS[4]}
redis.call('EXISTS', keys.user)
read_characters(session)

local ending
if why == 'replaced' and (standing == 'current' or standing == 'grace') then
  ending = {cause = CAUSE_DESTROYED, ended_at = now_ms, reason = why, message = ''}
elseif why == 'reused' and (standing == 'previous' or standing == 'older') then
  ending = theft_ending(standing, secret_hash)
else
  return {'KEPT'}
end
end_session(keys, session_key, id, session.user, session, ending)
return {'DESTROYED'}
