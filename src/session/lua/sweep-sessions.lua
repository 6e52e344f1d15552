#!lua flags=allow-oom
--[[
  sweep-sessions: end the sessions of a partition whose deadline is over, and move those that were touched since to their
  deadline.

  KEYS[1] deadlines  zset    <ns>:sessions:{<p>}:deadlines
  KEYS[2] counters   hash    <ns>:sessions:{<p>}:counters
  KEYS[3] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:session:{<p>}:<id> and <ns>:user:{<p>}:<user> of the sessions that are due;
  their claims.

  ARGV[1] sessionPrefix  string   <ns>:session:{<p>}:
  ARGV[2] userPrefix     string   <ns>:user:{<p>}:
  ARGV[3] maxLooked      integer  1..200, how many sessions are looked at

  Returns
    {nextDueMs, more, destroying, lagMs, id, cause, …}
      when the next one is due at the earliest, 0 = the partition is empty; more is 1 when maxLooked were looked at;
      destroying is 1 when destroy-partition-sessions has to go on here; how late the latest was ended; those that this
      call ended

  Atomicity: a session's deadline is read in the step that ends it: one that was touched before is not ended.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/not-before.lua"
local deadlines, counters, events = KEYS[1], KEYS[2], KEYS[3]
local session_prefix, user_prefix, max_looked = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not max_looked or max_looked < 1 then return redis.error_reply('BADARG maxLooked') end

local destroying, due = 0, {}
local members = redis.call('ZRANGEBYSCORE', deadlines, '-inf', decimal(now_ms), 'LIMIT', 0, max_looked)
for _, member in ipairs(members) do
  local id, user = split_member(member)
  if id then
    redis.call('EXISTS', user_prefix .. user)
    local session = unpack_session(redis.call('GET', session_prefix .. id))
    read_characters(session)
    due[#due + 1] = {id = id, user = user, session = session}
  else
    destroying = 1
  end
end

local lag_ms, ended = 0, {}
for _, each in ipairs(due) do
  local id, user, session = each.id, each.user, each.session
  if session_is_live(session, now_ms) then
    redis.call('ZADD', deadlines, 'XX', decimal(session.expires_at), deadline_member(id, user))
  else
    local keys = {user = user_prefix .. user, deadlines = deadlines, counters = counters, events = events}
    local ending = expired_ending(session, now_ms)
    end_session(keys, session_prefix .. id, id, user, session, ending)
    lag_ms = math.max(lag_ms, now_ms - ending.ended_at)
    ended[#ended + 1] = id
    ended[#ended + 1] = ending.cause
  end
end

local first = redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')
local more = #members == max_looked and 1 or 0
return {decimal(tonumber(first[2] or 0)), more, destroying, decimal(lag_ms), unpack(ended)}
