#!lua flags=no-writes
--[[
  list-user-sessions: read the live sessions of a user.

  KEYS[1] user  zset  <ns>:user:{<p>}:<user>  session ids by creation
  Derived: <ns>:session:{<p>}:<id> of the user's sessions.

  ARGV[1] sessionPrefix  string   <ns>:session:{<p>}:
  ARGV[2] maxListed      integer  1..1000

  Returns
    {total, id, packed, …}  how many are live, and the first of them, oldest first

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
local user = KEYS[1]
local prefix, max_listed = ARGV[1], tonumber(ARGV[2])
if not max_listed or max_listed < 1 then return redis.error_reply('BADARG maxListed') end

local reply, total = {0}, 0
for _, id in ipairs(redis.call('ZRANGE', user, 0, -1)) do
  local listed = total < max_listed
  local packed
  if listed then
    packed = redis.call('GET', prefix .. id)
  else
    packed = redis.call('GETRANGE', prefix .. id, 0, SESSION_HEADER_BYTES - 1)
  end
  if session_is_live(unpack_session(packed), now_ms) then
    total = total + 1
    if listed then
      reply[#reply + 1] = id
      reply[#reply + 1] = packed
    end
  end
end
reply[1] = total
return reply
