#!lua
--[[
  update-session: replace the record of a live session that still has the version it was read with.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV[1] version  bytes  8, big-endian: the version that was read
  ARGV[2] touch    word   touch | keep
  ARGV[3] record   bytes  protobuf

  Returns
    {'UPDATED', packed}  the session as it is now; its change is still to be told (announce-change)
    {'CONFLICT'}         it has another version; nothing changed
    {'GONE'}             nothing there, ended or past its deadline

  Atomicity: version check, record and touch are one step; the header keeps what a touch wrote in between.
  Retry:     answers CONFLICT when the first try landed.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
local session_key = KEYS[1]
local version, touch, record = ARGV[1], ARGV[2], ARGV[3]
if #version ~= 8 then return redis.error_reply('BADARG version') end
if touch ~= 'touch' and touch ~= 'keep' then return redis.error_reply('BADARG touch') end

local packed = redis.call('GET', session_key)
local session = unpack_session(packed)
if not session_is_live(session, now_ms) then return {'GONE'} end
if string.sub(packed, 5, 12) ~= version then return {'CONFLICT'} end

local last_active, expires_at = session.last_active, session.expires_at
if touch == 'touch' then last_active, expires_at = touched(session, now_ms) end
local updated = string.sub(packed, 1, 4)
  .. struct.pack('>I8I4', next_tick(session.version), session.untold_updates + 1)
  .. string.sub(packed, 17, SESSION_LAST_ACTIVE)
  .. struct.pack('>I6I6', last_active, expires_at)
  .. string.sub(packed, SESSION_LAST_ACTIVE + 13, session.record_at)
  .. record
redis.call('SET', session_key, updated, 'PXAT', decimal(expires_at + BACKSTOP_MS))
return {'UPDATED', updated}
