-- The packed form of a session. All numbers are big-endian; offsets count from 0.
--
--   0   1   format: 1 = session, 2 = tombstone
--   1   2   R, where the protobuf record begins: a reader skips what it does not know before it
--   3   1   flags, 0
--   4   8   version, logical clock in µs
--   12  8   fence, the highest fencing token accepted; 0 = none
--   20  6   created_at           26  6  last_active
--   32  6   expires_at, padded by the touch granularity
--   38  6   absolute_expires_at, 0 = none
--   44  6   authenticated_at     50  6  idle_ttl_ms
--   56  4   touch_granularity_ms
--   60  32  SHA-256 of the secret
--   92  1   device class, 0
--   93  2   U, length of the encoded user id
--   95  U   the encoded user id, as it stands in keys
--   95+U    fields of 1 byte type, 2 bytes length, bytes (none yet)
--   R       shardkeep.session.v1.Session with the fields that are not above
--
-- A tombstone:
--   0  1  format, 2     1  1  cause     2  6  ended_at     8  32  SHA-256 of the secret
--   40 1  length, reason                then  2  length, message
--
-- last_active and expires_at stand side by side, so that a touch is one SETRANGE of 12 bytes.
local SESSION_FORMAT, TOMBSTONE_FORMAT = 1, 2
local SESSION_HEADER_BYTES = 95
local SESSION_LAST_ACTIVE = 26

-- How long Redis keeps a record past its deadline when no sweeper ends it, and a tombstone.
local BACKSTOP_MS = 3600000
local TOMBSTONE_MS = 3600000

local CAUSE_DESTROYED, CAUSE_EVICTED, CAUSE_EXPIRED_IDLE, CAUSE_EXPIRED_ABSOLUTE = 1, 2, 3, 4

-- The header of a packed session (at least its first 95 bytes); nil for a tombstone or nothing.
local function unpack_session(packed)
  if not packed or string.byte(packed, 1) ~= SESSION_FORMAT then return nil end
  local _, record_at, _, version, fence, created_at, last_active, expires_at, absolute_expires_at, _, idle_ttl_ms,
    touch_granularity_ms, secret_hash, _, user_length =
    struct.unpack('>BI2BI8I8I6I6I6I6I6I6I4c32BI2', packed)
  return {
    record_at = record_at,
    version = version,
    fence = fence,
    created_at = created_at,
    last_active = last_active,
    expires_at = expires_at,
    absolute_expires_at = absolute_expires_at,
    idle_ttl_ms = idle_ttl_ms,
    touch_granularity_ms = touch_granularity_ms,
    secret_hash = secret_hash,
    user = string.sub(packed, SESSION_HEADER_BYTES + 1, SESSION_HEADER_BYTES + user_length),
  }
end

local function session_is_live(session, now)
  return session ~= nil and now < session.expires_at
end

-- What ended a session whose deadline is over.
local function expiry_cause(session)
  return session.expires_at == session.absolute_expires_at and CAUSE_EXPIRED_ABSOLUTE or CAUSE_EXPIRED_IDLE
end

-- When a session touched now ends: padded by the granularity, because touches younger than it are not written.
local function deadline_after(now, idle_ttl_ms, touch_granularity_ms, absolute_expires_at)
  local idle_deadline = now + idle_ttl_ms + touch_granularity_ms
  if absolute_expires_at == 0 then return idle_deadline end
  return math.min(idle_deadline, absolute_expires_at)
end

-- last_active and expires_at of a session after activity now; a touch never shortens a deadline.
local function touched(session, now)
  local deadline =
    deadline_after(now, session.idle_ttl_ms, session.touch_granularity_ms, session.absolute_expires_at)
  return math.max(now, session.last_active), math.max(deadline, session.expires_at)
end

local function pack_tombstone(cause, ended_at, secret_hash, reason, message)
  return struct.pack('>BBI6', TOMBSTONE_FORMAT, cause, ended_at)
    .. secret_hash
    .. struct.pack('>B', #reason) .. reason
    .. struct.pack('>I2', #message) .. message
end
