-- The moment before which all sessions of a partition were destroyed: in its counters `not_before` (logical clock in µs),
-- `destroy_reason` and `destroy_message`. Needs clock.lua.
--
-- While sessions from before it may be left, the deadline index has this member too. No session's member looks so, as each
-- has a colon. Its score is when a sweeper is to go on, should the call be gone by then.
local DESTROY_MARKER = 'destroy'
local DESTROY_GRACE_MS = 5000

-- The session id and the user of a member of the deadline index; nil for the marker.
local function split_member(member)
  return string.match(member, '^([^:]+):(.*)$')
end
