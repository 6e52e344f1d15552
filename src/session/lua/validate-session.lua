#!lua flags=allow-oom
--[[
  validate-session: tell whether a secret opens a session now, and touch it.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV[1] secretHash  bytes  32, SHA-256 of the secret presented

  Returns
    {'VALID', packed, lastActiveMs, expiresAtMs}    the record as read, and its two times after the touch
    {'ENDED', cause, endedAtMs, reason, message}    it ran out, or has a tombstone that knows the secret
    {'UNKNOWN'}                                     nothing there, or another secret

  Atomicity: the check and the touch are one step: what was ended before is not touched back to life.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
local session_key = KEYS[1]
local secret_hash = ARGV[1]
if #secret_hash ~= 32 then return redis.error_reply('BADARG secretHash') end

local packed = redis.call('GET', session_key)
if not packed then return {'UNKNOWN'} end
if string.byte(packed, 1) == TOMBSTONE_FORMAT then
  local _, cause, ended_at, hash, reason, message = struct.unpack('>BBI6c32Bc0I2c0', packed)
  if hash ~= secret_hash then return {'UNKNOWN'} end
  return {'ENDED', cause, decimal(ended_at), reason, message}
end
local session = unpack_session(packed)
if not session or session.secret_hash ~= secret_hash then return {'UNKNOWN'} end
if not session_is_live(session, now_ms) then
  local ending = expired_ending(session, now_ms)
  return {'ENDED', ending.cause, decimal(ending.ended_at), ending.reason, ending.message}
end

local last_active, expires_at = session.last_active, session.expires_at
if now_ms - last_active >= session.touch_granularity_ms then
  last_active, expires_at = touched(session, now_ms)
  redis.call('SETRANGE', session_key, SESSION_LAST_ACTIVE, struct.pack('>I6I6', last_active, expires_at))
  redis.call('PEXPIREAT', session_key, decimal(expires_at + BACKSTOP_MS))
end
return {'VALID', packed, decimal(last_active), decimal(expires_at)}
