#!lua
--[[
  create-session: log a user in, within the profile's limits of sessions.

  KEYS[1] session     string  <ns>:session:{<p>}:<session id>
  KEYS[2] user        zset    <ns>:user:{<p>}:<user>  session ids by creation
  KEYS[3] revocation  string  <ns>:revocation:{<p>}:<user>  "<revoked_at µs>:<blocked_until ms>"
  KEYS[4] deadlines   zset    <ns>:sessions:{<p>}:deadlines
  KEYS[5] counters    hash    <ns>:sessions:{<p>}:counters
  KEYS[6] events      stream  <ns>:sessions:{<p>}:events
  KEYS[7] login       string  <ns>:login:{<p>}:<hash of user and request id>  id (24), salt (32), secretHash (32)
  Derived: <ns>:session:{<p>}:<id> of the user's other sessions; the claims of those that end.

  ARGV[1] sessionId           string   24
  ARGV[2] secretHash          bytes    32, SHA-256 of the secret
  ARGV[3] user                string   encoded user id
  ARGV[4] idleTtlMs           integer  1..31536000000
  ARGV[5] absoluteTtlMs       integer  0..31536000000; 0 = none
  ARGV[6] touchGranularityMs  integer  0..3600000
  ARGV[7] maxSessions         integer  1..1000
  ARGV[8] atLimit             word     evict_oldest | evict_least_recently_active | refuse
  ARGV[9] authenticatedAtMs   integer  Unix ms; 0 = now
  ARGV[10] record             bytes    protobuf
  ARGV[11] maxListed          integer  how many live sessions LIMIT lists at most
  ARGV[12] rotationGraceMs    integer  0..600000
  ARGV[13] renewalTtlMs       integer  0..31536000000; 0 = the token need not be renewed
  ARGV[14] deviceClass        integer  0..4, as in the proto
  ARGV[15] maxOfClass         integer  1..1000, sessions of this device class; 0 = no limit
  ARGV[16] binding            bytes    field 2 of the record; empty = none
  ARGV[17] requestSalt        bytes    32, what the secret was derived from the request id with; empty = no request id
  ARGV[18] replacedId         string   24, a session whose place this one takes; empty = none
  ARGV[19] replacedHash       bytes    32, SHA-256 of the secret that was presented for it; empty = none
  ARGV[20..n] evictIds        strings  sessions to end, as the user chose

  Returns
    {'CREATED', packed, replacedId, id, …}  created; what it replaced or '', and the ids that were evicted
    {'REPEATED', packed, id, salt}   nothing changed; this request id made this session
    {'SPENT'}                        nothing changed; the session of this request id ended or was rotated
    {'LIMIT', id, packed, …}         nothing changed; the live sessions, oldest first
    {'BLOCKED', blockedUntilMs}      nothing changed
    {'REVOKED'}                      nothing changed; authenticated before the user's, or all, sessions were destroyed

  Atomicity: count, eviction and creation are one step, so parallel logins cannot pass a limit; record, indexes,
             counters and event agree. Ends 200 sessions at most besides those named: where a limit was lowered since, the
             next logins end the rest.
  Retry:     with a request id answers the same session for 10 minutes, otherwise makes another.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/record.lua"
--- @include "lib/end-session.lua"
--- @include "lib/rotation.lua"
--- @include "lib/created-minute.lua"
local session_key = KEYS[1]
local keys = {user = KEYS[2], deadlines = KEYS[4], counters = KEYS[5], events = KEYS[6]}
local revocation, login = KEYS[3], KEYS[7]
local id, secret_hash, user = ARGV[1], ARGV[2], ARGV[3]
local idle_ttl_ms, absolute_ttl_ms, touch_granularity_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local max_sessions, at_limit, authenticated_at = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local record, max_listed = ARGV[10], tonumber(ARGV[11])
local rotation_grace_ms, renewal_ttl_ms, device_class = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local max_of_class, binding, request_salt = tonumber(ARGV[15]), ARGV[16], ARGV[17]
local replaced_id, replaced_hash = ARGV[18], ARGV[19]
local evict_ids = {unpack(ARGV, 20)}
if #secret_hash ~= 32 then return redis.error_reply('BADARG secretHash') end
if not idle_ttl_ms or idle_ttl_ms < 1 then return redis.error_reply('BADARG idleTtlMs') end
if not absolute_ttl_ms or absolute_ttl_ms < 0 then return redis.error_reply('BADARG absoluteTtlMs') end
if not touch_granularity_ms or touch_granularity_ms < 0 then return redis.error_reply('BADARG touchGranularityMs') end
if not max_sessions or max_sessions < 1 then return redis.error_reply('BADARG maxSessions') end
if at_limit ~= 'evict_oldest' and at_limit ~= 'evict_least_recently_active' and at_limit ~= 'refuse' then
  return redis.error_reply('BADARG atLimit')
end
if not authenticated_at or authenticated_at < 0 then return redis.error_reply('BADARG authenticatedAtMs') end
if not max_listed or max_listed < 0 then return redis.error_reply('BADARG maxListed') end
if not rotation_grace_ms or rotation_grace_ms < 0 then return redis.error_reply('BADARG rotationGraceMs') end
if not renewal_ttl_ms or renewal_ttl_ms < 0 then return redis.error_reply('BADARG renewalTtlMs') end
if not device_class or device_class < 0 or device_class > 255 then return redis.error_reply('BADARG deviceClass') end
if not max_of_class or max_of_class < 0 then return redis.error_reply('BADARG maxOfClass') end
if binding ~= '' and #binding ~= 25 then return redis.error_reply('BADARG binding') end
if request_salt ~= '' and #request_salt ~= 32 then return redis.error_reply('BADARG requestSalt') end
if replaced_id ~= '' and #replaced_hash ~= 32 then return redis.error_reply('BADARG replacedHash') end

local REQUEST_MS = 600000
local MAX_ENDED = 200

local prefix = string.sub(session_key, 1, -(#id + 1))

local made = request_salt ~= '' and redis.call('GET', login)
if made then
  local made_id, made_salt, made_hash = struct.unpack('c24c32c32', made)
  local packed = redis.call('GET', prefix .. made_id)
  local session = unpack_session(packed)
  if not session_is_live(session, now_ms) or session.secret_hash ~= made_hash then return {'SPENT'} end
  return {'REPEATED', packed, made_id, made_salt}
end

local revoked_at_us, blocked_until = string.match(redis.call('GET', revocation) or '0:0', '^(%d+):(%d+)$')
revoked_at_us, blocked_until = tonumber(revoked_at_us), tonumber(blocked_until)
if blocked_until > now_ms then return {'BLOCKED', decimal(blocked_until)} end
local partition = redis.call('HMGET', keys.counters, 'not_before', 'last_created', 'created_minute', 'created', 'active',
  'users')
local not_before, last_created = tonumber(partition[1] or 0), tonumber(partition[2] or 0)
if authenticated_at == 0 then
  authenticated_at = now_ms
else
  authenticated_at = math.min(authenticated_at, now_ms)
  if authenticated_at < math.floor(math.max(revoked_at_us, not_before) / 1000) then return {'REVOKED'} end
end

-- What this login ends, and of that what it names.
local endings, evicted, leaving = {}, {}, {}
local function leave(other, session, ending)
  leaving[other] = true
  endings[#endings + 1] = {id = other, session = session, ending = ending}
end
local function evict(other, session)
  leave(other, session, {cause = CAUSE_EVICTED, ended_at = now_ms, reason = '', message = ''})
  evicted[#evicted + 1] = other
end
local function own_live_session(other)
  local session = unpack_session(redis.call('GET', prefix .. other))
  return session_is_live(session, now_ms) and session.user == user and session or nil
end

local replaced = replaced_id ~= '' and own_live_session(replaced_id)
local standing = replaced and standing_of(replaced, replaced_hash, now_ms)
if standing == 'current' or standing == 'grace' then
  leave(replaced_id, replaced, {cause = CAUSE_DESTROYED, ended_at = now_ms, reason = 'replaced', message = ''})
else
  replaced_id = ''
end
for _, other in ipairs(evict_ids) do
  local session = not leaving[other] and own_live_session(other)
  if session then evict(other, session) end
end

-- The others are read only where they could be too many, and of each the header: those that ran out make room first.
local room = max_of_class > 0 and math.min(max_of_class, max_sessions) or max_sessions
local session_count = redis.call('ZCARD', keys.user)
if session_count - #endings >= room then
  local live, staying, expired, of_class = {}, {}, {}, 0
  for _, other in ipairs(redis.call('ZRANGE', keys.user, 0, -1)) do
    local header = unpack_session(redis.call('GETRANGE', prefix .. other, 0, SESSION_HEADER_BYTES - 1))
    if session_is_live(header, now_ms) then
      live[#live + 1] = other
      if not leaving[other] then
        local same_class = header.device_class == device_class
        staying[#staying + 1] = {id = other, last_active = header.last_active, same_class = same_class}
        if same_class then of_class = of_class + 1 end
      end
    else
      expired[#expired + 1] = other
    end
  end
  local too_many = math.max(0, #staying - max_sessions + 1)
  local too_many_of_class = max_of_class > 0 and math.max(0, of_class - max_of_class + 1) or 0
  if at_limit == 'refuse' and math.max(too_many, too_many_of_class) > 0 then
    local reply = {'LIMIT'}
    for index = 1, math.min(#live, max_listed) do
      reply[#reply + 1] = live[index]
      reply[#reply + 1] = redis.call('GET', prefix .. live[index])
    end
    return reply
  end
  if at_limit == 'evict_least_recently_active' then
    table.sort(staying, function(a, b)
      if a.last_active ~= b.last_active then return a.last_active < b.last_active end
      return a.id < b.id
    end)
  end
  local most = #endings + MAX_ENDED
  local function make_room(count, is_candidate)
    local done = 0
    for _, other in ipairs(staying) do
      if done >= count or #endings >= most then break end
      if not leaving[other.id] and is_candidate(other) then
        evict(other.id, unpack_session(redis.call('GET', prefix .. other.id)))
        done = done + 1
      end
    end
    return done
  end
  local made_room = make_room(too_many_of_class, function(other) return other.same_class end)
  make_room(too_many - made_room, function() return true end)
  for index = 1, math.min(#expired, most - #endings) do
    local session = unpack_session(redis.call('GET', prefix .. expired[index]))
    leave(expired[index], session, expired_ending(session, now_ms))
  end
end

for _, other in ipairs(endings) do read_characters(other.session) end
for _, other in ipairs(endings) do
  end_session(keys, prefix .. other.id, other.id, user, other.session, other.ending)
end
local active, users = partition[5], partition[6]
if #endings > 0 then
  active, users = unpack(redis.call('HMGET', keys.counters, 'active', 'users'))
  session_count = redis.call('ZCARD', keys.user)
end

-- Later than what was revoked, which ends exactly the sessions that were created before it, and than the partition's other
-- sessions, also where the clock was set back since.
local version = next_tick(math.max(revoked_at_us, not_before, last_created))
local absolute_expires_at = absolute_ttl_ms > 0 and now_ms + absolute_ttl_ms or 0
local renew_until = renewal_ttl_ms > 0 and now_ms + renewal_ttl_ms or 0
local idle = idle_deadline(now_ms, idle_ttl_ms, touch_granularity_ms)
local expires_at = earliest(idle, absolute_expires_at, renew_until, 0)
local fields = pack_field(FIELD_TERMS, pack_terms(rotation_grace_ms, renewal_ttl_ms, renew_until))
  .. (binding ~= '' and pack_field(FIELD_CLIENT, binding) or '')
local header = struct.pack('>BI2BI8I8I6I6I6I6I6I6I4', SESSION_FORMAT, SESSION_HEADER_BYTES + #user + #fields, 0, version,
  0, now_ms, now_ms, expires_at, absolute_expires_at, authenticated_at, idle_ttl_ms, touch_granularity_ms)
local packed = header .. secret_hash .. struct.pack('>BI2', device_class, #user) .. user .. fields .. record

redis.call('SET', session_key, packed, 'PXAT', decimal(kept_until(expires_at)))
if request_salt ~= '' then redis.call('SET', login, id .. request_salt .. secret_hash, 'PX', REQUEST_MS) end
redis.call('ZADD', keys.user, decimal(version), id)
redis.call('ZADD', keys.deadlines, decimal(expires_at), deadline_member(id, user))
redis.call('HSET', keys.counters, 'last_created', decimal(version), 'created_minute', count_created(partition[3]),
  'created', decimal((partition[4] or 0) + 1), 'active', decimal((active or 0) + 1),
  'users', decimal((users or 0) + (session_count == 0 and 1 or 0)))
add_event(keys, 'type', 'created', 'session', id, 'user', user)

local reply = {'CREATED', packed, replaced_id}
for _, other in ipairs(evicted) do reply[#reply + 1] = other end
return reply
