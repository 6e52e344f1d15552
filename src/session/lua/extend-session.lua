#!lua flags=allow-oom
--[[
  extend-session: touch a live session and move its deadline, as far as what bounds it allows.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV[1] ttlMs  integer  1..31536000000, from now

  Returns
    {'EXTENDED', packed, lastActiveMs, expiresAtMs}  the record as read, and its two times now; the deadline moved to where
                                                     a touch would not have moved it, which is still to be told
                                                     (announce-change)
    {'TOUCHED', packed, lastActiveMs, expiresAtMs}   the same, but it is where a touch moves it: there is nothing to tell
    {'GONE'}                                         nothing there, ended or past its deadline

  Atomicity: the check and the move are one step: what was ended before is not brought back.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
local session_key = KEYS[1]
local ttl_ms = tonumber(ARGV[1])
if not ttl_ms or ttl_ms < 1 then return redis.error_reply('BADARG ttlMs') end

local packed = redis.call('GET', session_key)
local session = unpack_session(packed)
if not session_is_live(session, now_ms) then return {'GONE'} end

-- Not padded by the granularity: the deadline of the touch is, and that one is for activity that will not be written.
local last_active, expires_at = touched(session, now_ms, now_ms + ttl_ms)
local _, touched_until = touched(session, now_ms)
local is_extended = expires_at > touched_until
redis.call('SETRANGE', session_key, SESSION_UNTOLD + 4, struct.pack('>I4I6I6I6',
  session.untold_extends + (is_extended and 1 or 0), session.created_at, last_active, expires_at))
redis.call('PEXPIREAT', session_key, decimal(kept_until(expires_at)))
return {is_extended and 'EXTENDED' or 'TOUCHED', packed, decimal(last_active), decimal(expires_at)}
