#!lua flags=allow-oom
--[[
  refund-rate-limit: take back one admission of one limit.

  KEYS[1] ring  string  <ns>:ratelimit:{<subject>}:<policy>

  ARGV[1] time      integer  µs, as check-rate-limit answered it
  ARGV[2] windowMs  integer  10..2592000000, the limit's window

  Returns
    {units}  how many units were taken back; 0 when they were before, or count no more

  Atomicity: the ring is never seen without a unit that still counts.
  Retry:     safe: no two admissions of a key have the same time.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/sliding-exact.lua"
local key = KEYS[1]
local time, window_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
if not time or time < 1 then return redis.error_reply('BADARG time') end
if not window_ms or window_ms < 1 then return redis.error_reply('BADARG windowMs') end

local ring = read_ring(key)
if not ring then return redis.error_reply('WRONGTYPE the key holds no ring') end
local window_us = window_ms * 1000
local used = used_units(ring, ring_now(ring, window_us), window_us)
local charged = struct.pack('>I8', time)
local kept = {}
for _, slot in ipairs(newest_slots(ring, used)) do
  if slot ~= charged then kept[#kept + 1] = slot end
end
local refunded = used - #kept
if refunded == 0 then return {0} end
if #kept == 0 then
  redis.call('DEL', key)
else
  redis.call('SET', key, pack_ring(ring, kept, ring.capacity), 'KEEPTTL')
end
return {refunded}
