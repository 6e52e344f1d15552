#!lua
--[[
  announce-change: tell of the changes of a live session that were not told yet, in one event.

  KEYS[1] session   string  <ns>:session:{<p>}:<session id>
  KEYS[2] counters  hash    <ns>:sessions:{<p>}:counters
  KEYS[3] events    stream  <ns>:sessions:{<p>}:events

  ARGV[1] sessionId  string  24

  Returns
    {'TOLD'}     the event is in the stream
    {'NOTHING'}  nothing to tell: another call told it, or the change is still to come
    {'GONE'}     nothing there, ended or past its deadline; its end is the last that is told of it

  Atomicity: what is told is counted and not told again.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
local session_key = KEYS[1]
local keys = {counters = KEYS[2], events = KEYS[3]}
local id = ARGV[1]

local session = unpack_session(redis.call('GET', session_key))
if not session_is_live(session, now_ms) then return {'GONE'} end
if session.untold_updates + session.untold_extends == 0 then return {'NOTHING'} end

redis.call('SETRANGE', session_key, SESSION_UNTOLD, struct.pack('>I4I4', 0, 0))
if session.untold_updates > 0 then
  redis.call('HINCRBY', keys.counters, 'updated', decimal(session.untold_updates))
end
if session.untold_extends > 0 then
  redis.call('HINCRBY', keys.counters, 'extended', decimal(session.untold_extends))
end
add_event(keys, 'type', 'updated', 'session', id, 'user', session.user)
return {'TOLD'}
