-- What a secret is to a session, and how an end is told. Needs clock.lua and record.lua.

-- 'current': it opens the session. 'grace': it was rotated, and opens the session for a while yet. 'previous': that while is
-- over. 'older': it was rotated, and so was the one that came after it. nil: it never was one of this session's, or one of
-- longer ago than is remembered.
local function standing_of(session, secret_hash, now)
  if secret_hash == session.secret_hash then return 'current' end
  local rotation = session_field(session, FIELD_ROTATION)
  if not rotation then return nil end
  local rotated_at, _, previous_hash = struct.unpack('>I6c32c32', rotation)
  if secret_hash == previous_hash then
    local grace_ms = struct.unpack('>I4', session_field(session, FIELD_TERMS))
    return now < rotated_at + grace_ms and 'grace' or 'previous'
  end
  local beginning = string.sub(secret_hash, 1, 8)
  for at = 71, #rotation, 8 do
    if string.sub(rotation, at, at + 7) == beginning then return 'older' end
  end
  return nil
end

-- How the session ended whose tombstone this is; nil for anything else, and for who does not know a secret of it.
local function ending_told_to(secret_hash, packed)
  if not packed or string.byte(packed, 1) ~= TOMBSTONE_FORMAT then return nil end
  local _, cause, ended_at, hash, reason, message, others_at = struct.unpack('>BBI6c32Bc0I2c0', packed)
  local knows = hash == secret_hash
  for at = others_at, #packed, 32 do
    knows = knows or string.sub(packed, at, at + 31) == secret_hash
  end
  return knows and {cause = cause, ended_at = ended_at, reason = reason, message = message} or nil
end

local function ended_reply(ending)
  return {'ENDED', ending.cause, decimal(ending.ended_at), ending.reason, ending.message}
end

-- How a session ends of which a secret was presented that had been rotated: by a thief, or by the holder after one.
local function theft_ending(standing, secret_hash)
  return {cause = CAUSE_THEFT, ended_at = now_ms, reason = standing, message = '', presented_hash = secret_hash}
end
