-- The one place where a session's end is announced. Needs clock.lua, record.lua and end-session.lua.

-- Announces the end of a live session, unpacked in full, for `ending.ended_at`; answers whether that changed anything:
-- of two ends the earlier one counts. The index gets the new deadline, or the sweeper would come when the old is over.
local function announce_end(keys, session_key, id, user, session, ending)
  local announced = announced_end(session)
  if announced and announced.ended_at <= ending.ended_at then return false end
  local expires_at = math.min(session.expires_at, ending.ended_at)
  local packed = with_field(session, FIELD_ANNOUNCED, struct.pack('>I6B', ending.ended_at, #ending.reason)
    .. ending.reason .. struct.pack('>I2', #ending.message) .. ending.message)
  redis.call('SET', session_key, with_times(packed, session.last_active, expires_at), 'PXAT',
    decimal(kept_until(expires_at)))
  redis.call('ZADD', keys.deadlines, 'XX', 'LT', decimal(expires_at), deadline_member(id, user))
  add_event(keys, 'type', 'warned', 'session', id, 'user', user, 'reason', ending.reason, 'message', ending.message,
    'effective_at', decimal(ending.ended_at))
  return true
end
