#!lua
--[[
  admit-master: let a master vote once nothing that it may have forgotten counts any more.

  A master that has restarted, was flushed or is new may have forgotten votes that live. It is kept out until the longest
  of them would be over and its clock is past every fencing token that it answered.

  KEYS[1] marker  hash  <ns>:quorum  fields:
                        run         the run id of the Redis process that the rest is about
                        since       Unix ms: it is kept out since then
                        quarantine  ms: for so long
                        admitted    1 = it votes; absent = it is kept out

  ARGV[1] runId         text     1..64 bytes: the run id of the Redis process, which changes with each start
  ARGV[2] quarantineMs  integer  1..86400000

  Returns
    {'ADMITTED'}              it votes
    {'QUARANTINED', left_ms}  it does not yet; ask again then, at least 1

  Where services differ in the quarantine the longest that was asked for meanwhile counts.
  Atomicity: services that ask at once agree, and one that restarts does not begin anew.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local marker, run_id, quarantine_ms = KEYS[1], ARGV[1], whole_number(ARGV[2], 1, 86400000)
if #run_id < 1 or #run_id > 64 then return redis.error_reply('BADARG runId') end
if not quarantine_ms then return redis.error_reply('BADARG quarantineMs') end

local stored = redis.call('HMGET', marker, 'run', 'since', 'quarantine', 'admitted')
if stored[1] == run_id and stored[4] == '1' then return {'ADMITTED'} end
local since = tonumber(stored[2] or 0)
-- a clock that was set back says nothing of how long it has been
if stored[1] ~= run_id or since > now_ms then
  since = now_ms
  redis.call('HDEL', marker, 'admitted')
else
  quarantine_ms = math.max(quarantine_ms, tonumber(stored[3]))
end
local left_ms = since + quarantine_ms - now_ms
redis.call('HSET', marker, 'run', run_id, 'since', decimal(since), 'quarantine', decimal(quarantine_ms))
if left_ms > 0 then return {'QUARANTINED', left_ms} end
redis.call('HSET', marker, 'admitted', '1')
return {'ADMITTED'}
