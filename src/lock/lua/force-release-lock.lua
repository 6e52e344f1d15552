#!lua flags=allow-oom
--[[
  force-release-lock: take a resource from all who hold it, refuse what they still write, and hand it to whose turn it is.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] reason                text     up to 256 bytes, told to those who are told of the loss
  ARGV[2] expectedFencingToken  integer  decimal digits: only while this is the highest fencing token; 0 = in any case
  ARGV[3] maxListed             integer  0..1000: how many holders are listed at most
  ARGV[4] afterLeases           integer  1 = nobody is granted it before the leases that are taken would have ended
  ARGV[5] fenceRetentionMs      integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'RELEASED', fence, lost, holder_count, then for each listed holder: owner, fencing_token, acquired_at_ms,
      expires_at_ms, ttl_ms, permits}
      nobody of them holds it any more; the highest fencing token, which is above all of theirs or that of who holds it
      now; how many leases were found over that nobody released
    {'OTHER_TOKEN', fence}
      another fencing token is the highest; nothing changed
      fencing tokens are decimal strings, the rest integers

  The fence is raised also where nobody holds the resource: one whose lease ran out may write yet. A delay ends, unless
  afterLeases. Each holder that has a channel is told on it: 'L', its lock token and the reason; what it misses the lock
  remembers.
  Atomicity: the look, the removal, the fence and the next grant are one step: nobody comes between.
  Retry:     with an expected token it answers OTHER_TOKEN; without one it takes it from the next.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock, reason, expected = KEYS[1], ARGV[1], ARGV[2]
local max_listed, after_leases = whole_number(ARGV[3], 0, 1000), whole_number(ARGV[4], 0, 1)
local fence_retention_ms = whole_number(ARGV[5], 1, MAX_FENCE_RETENTION_MS)
if #reason > 256 then return redis.error_reply('BADARG reason') end
if not string.find(expected, '^%d+$') then return redis.error_reply('BADARG expectedFencingToken') end
if not max_listed then return redis.error_reply('BADARG maxListed') end
if not after_leases then return redis.error_reply('BADARG afterLeases') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state = read_lock(lock)
-- as text: digits beyond 2^53 are no number of Lua
if expected ~= '0' and expected ~= decimal(state.fence) then return {'OTHER_TOKEN', decimal(state.fence)} end

clear_expired(lock, state)
local holders, tokens, last_end = {}, {}, 0
local fields = redis.call('HGETALL', lock)
for i = 1, #fields, 2 do
  local kind = string.sub(fields[i], 1, 2)
  local holder = kind == 'h:' and live_holder(fields[i + 1])
  if holder then
    holders[#holders + 1] = holder
    tokens[#tokens + 1] = string.sub(fields[i], 3)
    last_end = math.max(last_end, holder[HOLDER_EXPIRES_AT])
    drop(state, fields[i])
  elseif kind == 'o:' then
    put_group(state, string.sub(fields[i], 3), nil)
  end
end
-- also of owners that were counted anew
for field in pairs(state.changes) do
  if string.sub(field, 1, 2) == 'o:' then put_group(state, string.sub(field, 3), nil) end
end
state.used, state.ends_at = 0, 0
state.delay_until = after_leases == 1 and math.max(state.delay_until, last_end) or 0
state.fence = next_tick(state.fence)
for index = 1, #holders do
  local channel = holders[index][HOLDER_CHANNEL]
  if channel ~= '' then
    redis.call('SPUBLISH', channel, 'L' .. tokens[index] .. reason)
    put(state, 'forced', decimal(state.fence) .. ' ' .. reason)
  end
end
hand_over(lock, state)
write_lock(lock, state, fence_retention_ms)
if after_leases == 1 then tell_next(lock, state, state.handed_to or '') end

local reply = {'RELEASED', decimal(state.fence), state.lost, #holders}
for index = 1, math.min(#holders, max_listed) do append_holder(reply, holders[index]) end
return reply
