#!lua
--[[
  update-session: replace the record of a live session that still has the version it was read with.

  KEYS[1] session  string  <ns>:session:{<p>}:<session id>

  ARGV[1] version  bytes  8, big-endian: the version that was read
  ARGV[2] touch    word   touch | keep
  ARGV[3] record   bytes  protobuf
  ARGV[4] guard    bytes  16, see redis/lua/fence.lua; empty = none

  Returns
    {'UPDATED', packed}       the session as it is now; its change is still to be told (announce-change)
    {'CONFLICT'}              it has another version; nothing changed
    {'GONE'}                  nothing there, ended or past its deadline
    {'FENCED', token}         nothing changed: this token of the guard's resource, a decimal string, was accepted before
    {'TOO_MANY_GUARDS', '0'}  nothing changed: 4 other resources guard the session

  Atomicity: guard, version check, record and touch are one step; the header keeps what a touch wrote in between.
  Retry:     answers CONFLICT when the first try landed.    Clock: Redis TIME.
  The fence is kept as long as the session.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "../../redis/lua/fence.lua"
--- @include "lib/record.lua"
local session_key = KEYS[1]
local version, touch, record, guard = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if #version ~= 8 then return redis.error_reply('BADARG version') end
if touch ~= 'touch' and touch ~= 'keep' then return redis.error_reply('BADARG touch') end
if #guard ~= 0 and #guard ~= FENCE_MARK_BYTES then return redis.error_reply('BADARG guard') end

local session = unpack_session(redis.call('GET', session_key))
if not session_is_live(session, now_ms) then return {'GONE'} end
if guard ~= '' then
  -- before the version: whoever lost the lock is told so at once, without reading again
  local marks, refusal = raise_marks(session_field(session, FIELD_FENCE) or '', guard)
  if refusal then return refusal end
  session = unpack_session(with_field(session, FIELD_FENCE, marks))
end
local packed = session.packed
if string.sub(packed, 5, 12) ~= version then return {'CONFLICT'} end

local last_active, expires_at = session.last_active, session.expires_at
if touch == 'touch' then last_active, expires_at = touched(session, now_ms) end
local updated = string.sub(packed, 1, 4)
  .. struct.pack('>I8I4', next_tick(session.version), session.untold_updates + 1)
  .. string.sub(packed, 17, SESSION_LAST_ACTIVE)
  .. struct.pack('>I6I6', last_active, expires_at)
  .. string.sub(packed, SESSION_LAST_ACTIVE + 13, session.record_at)
  .. record
redis.call('SET', session_key, updated, 'PXAT', decimal(kept_until(expires_at)))
return {'UPDATED', updated}
