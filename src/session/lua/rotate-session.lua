#!lua flags=allow-oom
--[[
  rotate-session: give a session a new secret, and touch it.

  KEYS[1] session    string  <ns>:session:{<p>}:<session id>
  KEYS[2] deadlines  zset    <ns>:sessions:{<p>}:deadlines
  KEYS[3] counters   hash    <ns>:sessions:{<p>}:counters
  KEYS[4] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:user:{<p>}:<user>, the user being known only from the record; the session's claims.

  ARGV[1] sessionId   string  24
  ARGV[2] userPrefix  string  <ns>:user:{<p>}:
  ARGV[3] secretHash  bytes   32, SHA-256 of the secret presented
  ARGV[4] salt        bytes   32, what the new secret was derived from the old one with
  ARGV[5] nextHash    bytes   32, SHA-256 of the new secret
  ARGV[6] proof       word    keep | renew, whether the user has just proved who they are
  ARGV[7] client      bytes   24, who presents it as in field 2 of the record; empty = not said

  Returns
    {'ROTATED', salt, packed}                     the salt of the secret that is current now: the one given, or that of an
                                                  earlier rotation of the same secret
    {'BINDING', packed}                           nothing changed; live, but not for this client
    {'ENDED', cause, endedAtMs, reason, message}  it ran out, or has a tombstone that knows the secret
    {'THEFT', cause, endedAtMs, reason, message}  it ended here: the secret was rotated longer ago than the grace
    {'UNKNOWN'}                                   nothing changed; nothing there, or another secret

  Atomicity: of callers with one secret the first decides the successor for all; what was ended before stays ended.
  Retry:     safe within the grace: answers the same salt.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/rotation.lua"
--- @include "lib/client.lua"
local session_key = KEYS[1]
local id, user_prefix, secret_hash, salt, next_hash = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local proof, client = ARGV[6], ARGV[7]
if #secret_hash ~= 32 then return redis.error_reply('BADARG secretHash') end
if #salt ~= 32 then return redis.error_reply('BADARG salt') end
if #next_hash ~= 32 then return redis.error_reply('BADARG nextHash') end
if proof ~= 'keep' and proof ~= 'renew' then return redis.error_reply('BADARG proof') end
if client ~= '' and #client ~= 24 then return redis.error_reply('BADARG client') end

local MAX_OLDER_BYTES = 32 * 8

local packed = redis.call('GET', session_key)
local ended = ending_told_to(secret_hash, packed)
if ended then return ended_reply(ended) end
local session = unpack_session(packed)
local standing = session and standing_of(session, secret_hash, now_ms)
if not standing then return {'UNKNOWN'} end
if not session_is_live(session, now_ms) then return ended_reply(expired_ending(session, now_ms)) end
local keys = {user = user_prefix .. session.user, deadlines = KEYS[2], counters = KEYS[3], events = KEYS[4]}
redis.call('EXISTS', keys.user)
read_characters(session)

if standing == 'previous' or standing == 'older' then
  local theft = theft_ending(standing, secret_hash)
  end_session(keys, session_key, id, session.user, session, theft)
  local reply = ended_reply(theft)
  reply[1] = 'THEFT'
  return reply
end
if proof == 'keep' and client_is_rejected(session, client) then return {'BINDING', packed} end

local function put(offset, bytes)
  packed = string.sub(packed, 1, offset) .. bytes .. string.sub(packed, offset + #bytes + 1)
end

local rotation = session_field(session, FIELD_ROTATION)
if standing == 'grace' then
  salt = string.sub(rotation, 7, 38)
else
  local older = rotation and string.sub(rotation, 39, 46) .. string.sub(rotation, 71) or ''
  packed = with_field(session, FIELD_ROTATION,
    struct.pack('>I6', now_ms) .. salt .. secret_hash .. string.sub(older, 1, MAX_OLDER_BYTES))
  session = unpack_session(packed)
  local terms = session_field(session, FIELD_TERMS)
  if #terms > 4 then
    local grace_ms, renewal_ttl_ms = struct.unpack('>I4I6', terms)
    packed = with_field(session, FIELD_TERMS, pack_terms(grace_ms, renewal_ttl_ms, now_ms + renewal_ttl_ms))
  end
  put(SESSION_SECRET_HASH, next_hash)
end
if proof == 'renew' then
  put(SESSION_AUTHENTICATED_AT, struct.pack('>I6', now_ms))
  local bound = session_field(session, FIELD_CLIENT)
  if bound and client ~= '' then
    packed = with_field(unpack_session(packed), FIELD_CLIENT, string.sub(bound, 1, 1) .. rebound(bound, client))
  end
end
local last_active, expires_at = touched(unpack_session(packed), now_ms)
put(SESSION_LAST_ACTIVE, struct.pack('>I6I6', last_active, expires_at))

redis.call('SET', session_key, packed, 'PXAT', decimal(kept_until(expires_at)))
if standing == 'current' then
  redis.call('HINCRBY', keys.counters, 'rotated', 1)
  add_event(keys, 'type', 'rotated', 'session', id, 'user', session.user)
end
return {'ROTATED', salt, packed}
