#!lua flags=allow-oom
--[[
  validate-session: tell whether a secret opens a session now, and touch it.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV[1] secretHash    bytes    32, SHA-256 of the secret presented
  ARGV[2] client        bytes    24, who presents it as in field 2 of the record; empty = not said
  ARGV[3] maxAuthAgeMs  integer  0..31536000000; -1 = any

  Returns
    {'VALID', packed, lastActiveMs, expiresAtMs}    the record as read, and its two times after the touch
    {'STEP_UP', packed, lastActiveMs, expiresAtMs}  the same; the user proved who they are longer ago than asked for
    {'BINDING', packed}                             live, but not for this client; not touched
    {'REUSED'}                                      live, but the secret was rotated longer ago than the grace
    {'ENDED', cause, endedAtMs, reason, message}    it ran out, or has a tombstone that knows the secret
    {'UNKNOWN'}                                     nothing there, or another secret

  Atomicity: the check and the touch are one step: what was ended before is not touched back to life.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/rotation.lua"
--- @include "lib/client.lua"
local session_key = KEYS[1]
local secret_hash, client, max_auth_age_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if #secret_hash ~= 32 then return redis.error_reply('BADARG secretHash') end
if client ~= '' and #client ~= 24 then return redis.error_reply('BADARG client') end
if not max_auth_age_ms then return redis.error_reply('BADARG maxAuthAgeMs') end

local packed = redis.call('GET', session_key)
local ending = ending_told_to(secret_hash, packed)
if ending then return ended_reply(ending) end
local session = unpack_session(packed)
local standing = session and standing_of(session, secret_hash, now_ms)
if not standing then return {'UNKNOWN'} end
if not session_is_live(session, now_ms) then return ended_reply(expired_ending(session, now_ms)) end
if standing == 'previous' or standing == 'older' then return {'REUSED'} end
if client_is_rejected(session, client) then return {'BINDING', packed} end

local last_active, expires_at = session.last_active, session.expires_at
if now_ms - last_active >= session.touch_granularity_ms then
  last_active, expires_at = touched(session, now_ms)
  redis.call('SETRANGE', session_key, SESSION_LAST_ACTIVE, struct.pack('>I6I6', last_active, expires_at))
  local keep = kept_until(expires_at)
  if keep ~= kept_until(session.expires_at) then redis.call('PEXPIREAT', session_key, decimal(keep)) end
end
local step_up = max_auth_age_ms >= 0 and now_ms - session.authenticated_at > max_auth_age_ms
return {step_up and 'STEP_UP' or 'VALID', packed, last_active, expires_at}
