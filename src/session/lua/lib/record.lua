-- The packed form of a session. All numbers are big-endian; offsets count from 0.
--
--   0   1   format: 1 = session, 2 = tombstone
--   1   2   R, where the protobuf record begins: a reader skips what it does not know before it
--   3   1   flags, 0
--   4   8   version, logical clock in µs
--   12  4   changes by UpdateSession that no event has told yet
--   16  4   moves of the deadline by ExtendSession that no event has told yet
--   20  6   created_at           26  6  last_active
--   32  6   expires_at, padded by the touch granularity
--   38  6   absolute_expires_at, 0 = none
--   44  6   authenticated_at     50  6  idle_ttl_ms
--   56  4   touch_granularity_ms
--   60  32  SHA-256 of the secret
--   92  1   device class, as in the proto
--   93  2   U, length of the encoded user id
--   95  U   the encoded user id, as it stands in keys
--   95+U    fields of 1 byte type, 2 bytes length, bytes; each type at most once:
--             1 terms       rotation_grace_ms (4), and where the token has to be renewed renewal_ttl_ms (6), renew_by (6)
--             2 client      policies (1: two bits each from the lowest for ip, user agent, device id; 0 = ignore,
--                           1 = signal, 2 = reject), then for each 8 bytes of a hash of it, all zero = not known
--             3 rotation    rotated_at (6), salt (32), SHA-256 of the secret before this one (32), then the first 8 bytes
--                           of the hashes of up to 32 older ones, newest first
--             4 announced   ends_at (6), length (1), reason, length (2), message: an end to come
--             5 fence       the marks of those who may write (redis/lua/fence.lua); kept as long as the session
--             6 characters  the keys of the claims that are the session's, each 2 bytes length, bytes (claim.lua)
--   R       shardkeep.session.v1.Session with the fields that are not above
--
-- A tombstone:
--   0  1  format, 2     1  1  cause     2  6  ended_at     8  32  SHA-256 of the secret
--   40 1  length, reason                then  2  length, message
--   then  0, 1 or 2 more hashes of secrets that it answers to, 32 each
--
-- last_active and expires_at stand side by side, so that a touch is one SETRANGE of 12 bytes.
local SESSION_FORMAT, TOMBSTONE_FORMAT = 1, 2
local SESSION_HEADER_BYTES = 95
local SESSION_UNTOLD, SESSION_LAST_ACTIVE, SESSION_AUTHENTICATED_AT, SESSION_SECRET_HASH = 12, 26, 44, 60
local FIELD_TERMS, FIELD_CLIENT, FIELD_ROTATION, FIELD_ANNOUNCED, FIELD_FENCE, FIELD_CHARACTERS = 1, 2, 3, 4, 5, 6

-- How long Redis keeps a record past its deadline at least, when no sweeper ends it, and in which steps: most touches leave
-- the record's expiry as it is, which spares them a command.
local BACKSTOP_MS = 3600000
local BACKSTOP_STEP_MS = 1800000
local TOMBSTONE_MS = 3600000

-- As in the proto.
local CAUSE_DESTROYED, CAUSE_EVICTED, CAUSE_EXPIRED_IDLE, CAUSE_EXPIRED_ABSOLUTE = 1, 2, 3, 4
local CAUSE_EXPIRED_RENEWAL, CAUSE_THEFT = 5, 6

-- The header of a packed session; nil for a tombstone or nothing. Its first 95 bytes do, where neither its fields nor its
-- user are asked for.
local function unpack_session(packed)
  if not packed or string.byte(packed, 1) ~= SESSION_FORMAT then return nil end
  local _, record_at, _, version, untold_updates, untold_extends, created_at, last_active, expires_at,
    absolute_expires_at, authenticated_at, idle_ttl_ms, touch_granularity_ms, secret_hash, device_class, user_length =
    struct.unpack('>BI2BI8I4I4I6I6I6I6I6I6I4c32BI2', packed)
  return {
    packed = packed,
    record_at = record_at,
    version = version,
    untold_updates = untold_updates,
    untold_extends = untold_extends,
    created_at = created_at,
    last_active = last_active,
    expires_at = expires_at,
    absolute_expires_at = absolute_expires_at,
    authenticated_at = authenticated_at,
    idle_ttl_ms = idle_ttl_ms,
    touch_granularity_ms = touch_granularity_ms,
    secret_hash = secret_hash,
    device_class = device_class,
    user = string.sub(packed, SESSION_HEADER_BYTES + 1, SESSION_HEADER_BYTES + user_length),
    fields_at = SESSION_HEADER_BYTES + user_length,
  }
end

-- Until when Redis keeps the record of a session with this deadline.
local function kept_until(expires_at)
  return math.ceil((expires_at + BACKSTOP_MS) / BACKSTOP_STEP_MS) * BACKSTOP_STEP_MS
end

local function pack_terms(rotation_grace_ms, renewal_ttl_ms, renew_by)
  if renewal_ttl_ms == 0 then return struct.pack('>I4', rotation_grace_ms) end
  return struct.pack('>I4I6I6', rotation_grace_ms, renewal_ttl_ms, renew_by)
end

local function pack_field(field, bytes)
  return struct.pack('>BI2', field, #bytes) .. bytes
end

-- Where the bytes of a field of a session begin, and how many they are; nil where it has none. The session was unpacked in
-- full.
local function find_field(session, wanted)
  local packed, at, fields_end = session.packed, session.fields_at, session.record_at
  while at < fields_end do
    -- a touch looks for two fields: struct.unpack would cost it 1 µs more
    local field, high, low = string.byte(packed, at + 1, at + 3)
    local length = high * 256 + low
    if field == wanted then return at + 3, length end
    at = at + 3 + length
  end
  return nil
end

-- The bytes of a field; nil where the session has none.
local function session_field(session, wanted)
  local at, length = find_field(session, wanted)
  return at and string.sub(session.packed, at + 1, at + length)
end

-- The packed session with other bytes in a field, nil taking it out.
local function with_field(session, wanted, bytes)
  local packed, at = session.packed, session.fields_at
  local fields = {}
  while at < session.record_at do
    local field, length = struct.unpack('>BI2', packed, at + 1)
    if field ~= wanted then fields[#fields + 1] = string.sub(packed, at + 1, at + 3 + length) end
    at = at + 3 + length
  end
  if bytes then fields[#fields + 1] = pack_field(wanted, bytes) end
  local joined = table.concat(fields)
  return string.sub(packed, 1, 1)
    .. struct.pack('>I2', session.fields_at + #joined)
    .. string.sub(packed, 4, session.fields_at)
    .. joined
    .. string.sub(packed, session.record_at + 1)
end

local function session_is_live(session, now)
  return session ~= nil and now < session.expires_at
end

-- When the token of a session has to be renewed by; 0 where it need not be.
local function renew_by(session)
  local at, length = find_field(session, FIELD_TERMS)
  if not at or length == 4 then return 0 end
  return (struct.unpack('>I6', session.packed, at + 11))
end

-- The end that was announced for a session; nil where none was.
local function announced_end(session)
  local announced = session_field(session, FIELD_ANNOUNCED)
  if not announced then return nil end
  local ends_at, reason, message = struct.unpack('>I6Bc0I2c0', announced)
  return {cause = CAUSE_DESTROYED, ended_at = ends_at, reason = reason, message = message}
end

-- How a session ends whose deadline is over, whoever notices. A record that Redis dropped had its deadline long ago.
local function expired_ending(session, now)
  if not session then return {cause = CAUSE_EXPIRED_IDLE, ended_at = now, reason = '', message = ''} end
  local announced = announced_end(session)
  if announced and session.expires_at == announced.ended_at then return announced end
  local cause = CAUSE_EXPIRED_IDLE
  if session.expires_at == session.absolute_expires_at then
    cause = CAUSE_EXPIRED_ABSOLUTE
  elseif session.expires_at == renew_by(session) then
    cause = CAUSE_EXPIRED_RENEWAL
  end
  return {cause = cause, ended_at = session.expires_at, reason = '', message = ''}
end

-- The earliest of a deadline and three others, of which 0 is none.
local function earliest(deadline, absolute, renewal, announced)
  if absolute > 0 and absolute < deadline then deadline = absolute end
  if renewal > 0 and renewal < deadline then deadline = renewal end
  if announced > 0 and announced < deadline then deadline = announced end
  return deadline
end

-- When a session touched now ends: padded by the granularity, because touches younger than it are not written.
local function idle_deadline(now, idle_ttl_ms, touch_granularity_ms)
  return now + idle_ttl_ms + touch_granularity_ms
end

-- last_active and expires_at of a session after activity now, which is wanted to last until `wanted` at least (nil: as
-- long as any activity makes it). A deadline never moves to an earlier moment, nor past what bounds the session.
local function touched(session, now, wanted)
  local idle = idle_deadline(now, session.idle_ttl_ms, session.touch_granularity_ms)
  local announced_at = find_field(session, FIELD_ANNOUNCED)
  local announced = announced_at and struct.unpack('>I6', session.packed, announced_at + 1) or 0
  local deadline = earliest(math.max(idle, wanted or 0), session.absolute_expires_at, renew_by(session), announced)
  return math.max(now, session.last_active), math.max(deadline, session.expires_at)
end

-- The packed session with other times.
local function with_times(packed, last_active, expires_at)
  return string.sub(packed, 1, SESSION_LAST_ACTIVE)
    .. struct.pack('>I6I6', last_active, expires_at)
    .. string.sub(packed, SESSION_LAST_ACTIVE + 13)
end

-- Answers to the secret, to the one before it, and to the one that a thief presented.
local function pack_tombstone(ending, session)
  local rotation = session_field(session, FIELD_ROTATION)
  local previous_hash = rotation and string.sub(rotation, 39, 70) or ''
  local presented_hash = ending.presented_hash or ''
  return struct.pack('>BBI6', TOMBSTONE_FORMAT, ending.cause, ending.ended_at)
    .. session.secret_hash
    .. struct.pack('>B', #ending.reason) .. ending.reason
    .. struct.pack('>I2', #ending.message) .. ending.message
    .. previous_hash
    .. (presented_hash ~= previous_hash and presented_hash or '')
end
