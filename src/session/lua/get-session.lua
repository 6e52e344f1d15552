#!lua flags=no-writes
--[[
  get-session: read a live session.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV none

  Returns
    {'LIVE', packed}
    {'GONE'}          nothing there, ended or past its deadline

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
local session_key = KEYS[1]

local packed = redis.call('GET', session_key)
if not session_is_live(unpack_session(packed), now_ms) then return {'GONE'} end
return {'LIVE', packed}
