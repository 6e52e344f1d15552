#!lua flags=allow-oom
--[[
  refund-rate-limit: take back one charge of one limit.

  KEYS[1] record  string or ZSET  of the limit

  ARGV[1] mark       integer  as check-rate-limit answered it
  ARGV[2] chargedUs  integer  the time it answered with it
  ARGV[3] units      integer  1..10^9, how many were charged
  ARGV[4] standing   string   key of the subject's standing, as services are told it
  ARGV[5] channel    string   where they are told of what was taken back; in the same slot
  ARGV[6..n] limits  the one limit, as check-rate-limit takes it

  Returns
    {units}  how many units were taken back; 0 when they were before, or count no more

  Atomicity: the limit is never seen without a unit that still counts.
  A charge that was forgotten by a reset, or made before the clock was set back, is not taken back from others.
  Retry:     safe for SLIDING_EXACT and CONCURRENCY, where each charge has a name of its own; takes back once more for
             the others.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/decide.lua"
local record, terms = KEYS[1], ARGV
local mark, charged_us, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local standing, channel = ARGV[4], ARGV[5]
if not mark or mark < 1 then return redis.error_reply('BADARG mark') end
if not charged_us or charged_us < 1 then return redis.error_reply('BADARG chargedUs') end
if not units or units < 1 or units > LARGEST_LIMIT then return redis.error_reply('BADARG units') end
local plan = limit_plan(standing, record, terms, 5)
if not plan then return redis.error_reply('BADARG limits') end

local refunded = plan.operations.refund(plan, charged_us, mark, units, 0)
if refunded > 0 then redis.call('SPUBLISH', channel, standing) end
return {refunded}
