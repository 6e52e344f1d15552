-- The one place where a session ends and where its events are written. Needs clock.lua and record.lua.
--
-- `keys` = {user, deadlines, counters, events}. Every key a script touches is read before its first write: with a slot
-- half moved a missing one then stops the script while nothing is done.
local CAUSE_NAMES = {'destroyed', 'evicted', 'expired_idle', 'expired_absolute'}

-- Watchers that were away for longer find out by RESYNC.
local EVENT_RETENTION_MS = 600000

local function add_event(keys, ...)
  redis.call('XADD', keys.events, 'MINID', '~', decimal(now_ms - EVENT_RETENTION_MS), '*', ...)
  redis.call('PEXPIRE', keys.events, 2 * EVENT_RETENTION_MS)
end

-- The member of the deadline index; carries the user so that a sweeper can clear the user's index of a session whose
-- record Redis has dropped.
local function deadline_member(id, user)
  return id .. ':' .. user
end

-- Ends one session: `session` is its unpacked header, or nil where the record is gone. Leaving the deadline index is what
-- emits the one terminal event; a tombstone answers to the holder of the secret for an hour.
local function end_session(keys, session_key, id, user, session, ending)
  if redis.call('ZREM', keys.deadlines, deadline_member(id, user)) == 1 then
    redis.call('HINCRBY', keys.counters, 'active', -1)
    redis.call('HINCRBY', keys.counters, CAUSE_NAMES[ending.cause], 1)
    add_event(keys, 'type', CAUSE_NAMES[ending.cause], 'session', id, 'user', user, 'reason', ending.reason,
      'message', ending.message)
  end
  redis.call('ZREM', keys.user, id)
  if session then
    local tombstone =
      pack_tombstone(ending.cause, ending.ended_at, session.secret_hash, ending.reason, ending.message)
    redis.call('SET', session_key, tombstone, 'PX', TOMBSTONE_MS)
  else
    redis.call('DEL', session_key)
  end
end

-- How a session ends whose deadline is over, whoever notices.
local function expired_ending(session)
  if not session then return {cause = CAUSE_EXPIRED_IDLE, ended_at = now_ms, reason = '', message = ''} end
  return {cause = expiry_cause(session), ended_at = session.expires_at, reason = '', message = ''}
end
