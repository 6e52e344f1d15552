#!lua flags=allow-oom
--[[
  destroy-partition-sessions: one step of ending the sessions of a partition that were created before it was revoked.

  KEYS[1] deadlines  zset    <ns>:sessions:{<p>}:deadlines
  KEYS[2] counters   hash    <ns>:sessions:{<p>}:counters
  KEYS[3] events     stream  <ns>:sessions:{<p>}:events
  Derived: <ns>:session:{<p>}:<id> and <ns>:user:{<p>}:<user> of the partition's sessions;
  their claims.

  ARGV[1] sessionPrefix  string   <ns>:session:{<p>}:
  ARGV[2] userPrefix     string   <ns>:user:{<p>}:
  ARGV[3] notBeforeUs    integer  what the step before answered; 0 = this is the first step
  ARGV[4] cursor         string   what the step before answered; 0 = this is the first step
  ARGV[5] isClean        integer  what the step before answered; 1 = this is the first step
  ARGV[6] maxEnded       integer  1..200, how many sessions this step ends at most

  Returns
    {destroyed, more, notBeforeUs, cursor, isClean}  more is 1 when another step is needed

  A step sees a part of the index, by ZSCAN: every session that is there all the time is seen in one pass, wherever in the
  index its deadline moves. The work is done when one step saw the whole index, or when a pass found nothing to end: a pass
  over a master that failed over may have missed some.

  Atomicity: the mark goes in the step that finds that no session is left.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/not-before.lua"
local deadlines, counters, events = KEYS[1], KEYS[2], KEYS[3]
local session_prefix, user_prefix = ARGV[1], ARGV[2]
local pass_not_before, cursor, is_clean, max_ended = tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
if not pass_not_before or pass_not_before < 0 then return redis.error_reply('BADARG notBeforeUs') end
if not string.match(cursor, '^%d+$') then return redis.error_reply('BADARG cursor') end
if not max_ended or max_ended < 1 then return redis.error_reply('BADARG maxEnded') end

local revoked = redis.call('HMGET', counters, 'not_before', 'destroy_reason', 'destroy_message')
local not_before, reason, message = tonumber(revoked[1] or 0), revoked[2] or '', revoked[3] or ''
if not redis.call('ZSCORE', deadlines, DESTROY_MARKER) then return {0, 0, decimal(not_before), '0', 1} end

-- Revoked again since: what the pass let live may have to end.
if pass_not_before ~= not_before then cursor = '0' end
local begins = cursor == '0'
local page = redis.call('ZSCAN', deadlines, cursor, 'COUNT', max_ended)
local doomed = {}
for index = 1, #page[2], 2 do
  local id, user = split_member(page[2][index])
  if id and tonumber(redis.call('ZSCORE', user_prefix .. user, id) or 0) <= not_before then
    local session = unpack_session(redis.call('GET', session_prefix .. id))
    read_characters(session)
    doomed[#doomed + 1] = {id = id, user = user, session = session}
  end
end

local destroyed = 0
for index = 1, math.min(#doomed, max_ended) do
  local id, user, session = doomed[index].id, doomed[index].user, doomed[index].session
  local keys = {user = user_prefix .. user, deadlines = deadlines, counters = counters, events = events}
  local live = session_is_live(session, now_ms)
  local ending = live and {cause = CAUSE_DESTROYED, ended_at = now_ms, reason = reason, message = message}
    or expired_ending(session, now_ms)
  end_session(keys, session_prefix .. id, id, user, session, ending)
  if live then destroyed = destroyed + 1 end
end

-- A page that is longer than asked for is looked at again.
local next_cursor = #doomed > max_ended and cursor or page[1]
is_clean = (begins or is_clean) and #doomed == 0
local is_done = page[1] == '0' and (is_clean or begins and #doomed <= max_ended)
if is_done then
  redis.call('ZREM', deadlines, DESTROY_MARKER)
else
  redis.call('ZADD', deadlines, 'XX', decimal(now_ms + DESTROY_GRACE_MS), DESTROY_MARKER)
end
return {destroyed, is_done and 0 or 1, decimal(not_before), next_cursor, is_clean and 1 or 0}
