-- The one place where a session ends and where its events are written. Needs clock.lua and record.lua.
--
-- `keys` = {user, deadlines, counters, events}. Every key a script touches is read before its first write: with a slot
-- half moved a missing one then stops the script while nothing is done. For the claims of the sessions that it may end it
-- calls read_characters.
--- @include "claim.lua"
local CAUSE_NAMES = {'destroyed', 'evicted', 'expired_idle', 'expired_absolute', 'expired_renewal', 'theft'}
-- The type of the event that tells of an end.
local END_EVENTS = {'destroyed', 'evicted', 'expired', 'expired', 'expired', 'theft'}

--- @include "event-retention.lua"
-- Adds an event and wakes those who read the stream; the channel has the name of its key.
local function add_event(keys, ...)
  local id = redis.call('XADD', keys.events, 'MINID', '~', decimal(now_ms - EVENT_RETENTION_MS), '*', ...)
  if tonumber(string.match(id, '^%d+')) > now_ms + EVENT_RETENTION_MS then
    redis.call('XTRIM', keys.events, 'MAXLEN', '~', MAX_EVENTS_AHEAD)
  end
  redis.call('PEXPIRE', keys.events, EVENT_STREAM_LIFE_MS)
  redis.call('SPUBLISH', keys.events, '')
end

-- The member of the deadline index; carries the user so that a sweeper can clear the user's index of a session whose
-- record Redis has dropped.
local function deadline_member(id, user)
  return id .. ':' .. user
end

-- Ends one session: `session` is unpacked in full, or nil where the record is gone. Leaving the deadline index is what
-- emits the one terminal event; a tombstone answers to the holder of the secret for an hour.
local function end_session(keys, session_key, id, user, session, ending)
  if redis.call('ZREM', keys.deadlines, deadline_member(id, user)) == 1 then
    redis.call('HINCRBY', keys.counters, 'active', -1)
    redis.call('HINCRBY', keys.counters, CAUSE_NAMES[ending.cause], 1)
    if session then
      redis.call('HINCRBY', keys.counters, 'timed', 1)
      redis.call('HINCRBY', keys.counters, 'duration_ms', decimal(math.max(0, ending.ended_at - session.created_at)))
    end
    add_event(keys, 'type', END_EVENTS[ending.cause], 'session', id, 'user', user, 'cause', ending.cause,
      'reason', ending.reason, 'message', ending.message)
  end
  if redis.call('ZREM', keys.user, id) == 1 and redis.call('EXISTS', keys.user) == 0 then
    redis.call('HINCRBY', keys.counters, 'users', -1)
  end
  if session then
    end_claims(session, id, ending.ended_at)
    redis.call('SET', session_key, pack_tombstone(ending, session), 'PX', TOMBSTONE_MS)
  else
    redis.call('DEL', session_key)
  end
end
