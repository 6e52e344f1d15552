-- Who plays a character: one string <ns>:character:{<p>}:<user and character>. All numbers are big-endian. Needs clock.lua
-- and record.lua.
--
--   0   1   format, 1
--   1   8   epoch, a logical clock in µs: the highest that was granted; outlives the claim
--   9   6   claimed_at
--   15  6   draining_until: when the place goes to the session that is next; 0 = nobody is
--   21  1   length, then the session that plays it; empty = nobody
--       1   length, then its owner
--       1   length, then the session that is next in line; empty = nobody
--       1   length, then its owner
--
-- A claim counts only while the record of its session says that it is live, whether or not anybody noticed the end. A
-- session's record lists the keys of the claims that it holds or waits for, so that its end clears them.
local CLAIM_FORMAT = 1

-- How long an epoch is remembered that nobody holds: a clock that steps back by less cannot give it twice.
local CLAIM_TOMBSTONE_MS = 86400000
-- Of a claim whose session has no absolute end.
local CLAIM_BACKSTOP_MS = 366 * 86400000

local MAX_CHARACTERS = 8

local function unpack_claim(packed)
  if not packed then
    return {epoch = 0, claimed_at = 0, draining_until = 0, session = '', owner = '', next_session = '', next_owner = ''}
  end
  local _, epoch, claimed_at, draining_until, session, owner, next_session, next_owner =
    struct.unpack('>BI8I6I6Bc0Bc0Bc0Bc0', packed)
  return {
    epoch = epoch,
    claimed_at = claimed_at,
    draining_until = draining_until,
    session = session,
    owner = owner,
    next_session = next_session,
    next_owner = next_owner,
  }
end

local function pack_claim(claim)
  local packed = struct.pack('>BI8I6I6', CLAIM_FORMAT, claim.epoch, claim.claimed_at, claim.draining_until)
  for _, text in ipairs({claim.session, claim.owner, claim.next_session, claim.next_owner}) do
    packed = packed .. struct.pack('>B', #text) .. text
  end
  return packed
end

-- When the session of a record ended; nil while it is live, 0 where the record is gone.
local function ended_at_of(packed)
  if not packed then return 0 end
  if string.byte(packed, 1) == TOMBSTONE_FORMAT then
    local _, _, ended_at = struct.unpack('>BBI6', packed)
    return ended_at
  end
  local session = unpack_session(packed)
  if not session then return 0 end
  if session_is_live(session, now_ms) then return nil end
  return session.expires_at
end

-- What is true of a claim now, `session_prefix` being what the keys of session records begin with. Reads only.
--   holder   the live session that has it, unpacked; nil where there is none
--   waiting  the live session that is next in line, unpacked; nil where there is none
--   plays    whether the holder's epoch counts
-- When the time to drain is over, the holder's epoch stays refused and nobody is next, unless the one that was next had
-- ended before: then nothing was to be given up. Where its record is gone as well, whether it had cannot be told any more.
local function claim_state(claim, session_prefix)
  local state = {plays = false}
  if claim.session ~= '' then
    local session = unpack_session(redis.call('GET', session_prefix .. claim.session))
    if session_is_live(session, now_ms) then state.holder = session end
  end
  local over = false
  if claim.next_session ~= '' then
    local packed = redis.call('GET', session_prefix .. claim.next_session)
    local ended_at = ended_at_of(packed)
    if now_ms < claim.draining_until then
      if not ended_at then state.waiting = unpack_session(packed) end
    else
      over = not ended_at or ended_at == 0 or ended_at >= claim.draining_until
    end
  end
  state.plays = state.holder ~= nil and not over
  return state
end

-- The fields of a reply that tell of the claim of `session`.
local function claim_fields(claim, state)
  local draining_until = state.waiting and claim.draining_until or 0
  return claim.session, claim.owner, decimal(claim.epoch), decimal(claim.claimed_at), decimal(draining_until)
end

-- The keys of the claims that a session holds or waits for, the session being unpacked in full.
local function characters_of(session)
  local characters, packed = {}, session_field(session, FIELD_CHARACTERS) or ''
  local at = 1
  while at <= #packed do
    characters[#characters + 1], at = struct.unpack('>I2c0', packed, at)
  end
  return characters
end

-- The packed session with these characters.
local function with_characters(session, characters)
  local packed = ''
  for _, key in ipairs(characters) do packed = packed .. struct.pack('>I2', #key) .. key end
  return with_field(session, FIELD_CHARACTERS, #packed > 0 and packed or nil)
end

-- Takes a character from the list of a live session.
local function forget_character(session_key, session, key)
  local kept = {}
  for _, other in ipairs(characters_of(session)) do
    if other ~= key then kept[#kept + 1] = other end
  end
  redis.call('SET', session_key, with_characters(session, kept), 'KEEPTTL')
end

-- The claims of sessions that this script may end, by key: one may be another session's as well, which waits for it. Also the
-- next call of a batch finds here what Redis has, because what is written is changed here.
local claims_read = {}

local function read_claim(key)
  if not claims_read[key] then claims_read[key] = unpack_claim(redis.call('GET', key)) end
  return claims_read[key]
end

-- A script that ends sessions calls this for each, unpacked in full or nil, before its first write: the keys are derived.
local function read_characters(session)
  if not session then return end
  for _, key in ipairs(characters_of(session)) do read_claim(key) end
end

-- What the end of a session leaves of its claims: their epochs, and the places of those that are next in line.
local function end_claims(session, id, ended_at)
  for _, key in ipairs(characters_of(session)) do
    local claim = read_claim(key)
    if claim.session == id then
      claim.session, claim.owner, claim.claimed_at = '', '', 0
      redis.call('SET', key, pack_claim(claim), 'PX', CLAIM_TOMBSTONE_MS)
    elseif claim.next_session == id and ended_at < claim.draining_until then
      claim.next_session, claim.next_owner, claim.draining_until = '', '', 0
      redis.call('SET', key, pack_claim(claim), 'KEEPTTL')
    elseif claim.next_session == id then
      -- the time to drain was over before: nobody's epoch counts
      claim.session, claim.owner, claim.claimed_at = '', '', 0
      claim.next_session, claim.next_owner, claim.draining_until = '', '', 0
      redis.call('SET', key, pack_claim(claim), 'PX', CLAIM_TOMBSTONE_MS)
    end
  end
end
