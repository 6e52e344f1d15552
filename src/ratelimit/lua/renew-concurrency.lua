#!lua flags=allow-oom
--[[
  renew-concurrency: keep the slots of a holder.

  KEYS[1..n] records  ZSET  of each limit

  ARGV[1] holder     string    who holds them
  ARGV[2..n] limits  integers  for each: slots, window in ms

  Returns
    {1}  all are held, and for a window longer
    {0}  some are lost; none was renewed any more

  Atomicity: all in one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/concurrency.lua"
local records = KEYS
local holder = ARGV[1]

local slots = concurrency()
local is_held = 1
for index, key in ipairs(records) do
  local units, window_ms = tonumber(ARGV[2 * index]), tonumber(ARGV[2 * index + 1])
  if not units or units < 1 or not window_ms or window_ms < 1 then return redis.error_reply('BADARG limits') end
  if slots.renew({key = key, holder = holder, window_us = window_ms * 1000}, units) < units then is_held = 0 end
end
return {is_held}
