-- Redis's clock, read once a script.
local redis_time = redis.call('TIME')
local now_us = tonumber(redis_time[1]) * 1000000 + tonumber(redis_time[2])
local now_ms = math.floor(now_us / 1000)

-- A whole number's digits, because tostring() turns 1.79e15 into '1.79e+15'. Exact up to 2^53, which µs reach in the year
-- 2255. In two halves, because '%d' takes what fits a C long, which may be 32 bits, and '%.0f' costs twice as much.
local function decimal(n)
  if n < 1000000000 then return string.format('%d', n) end
  local low = n % 1000000000
  return string.format('%d%09d', (n - low) / 1000000000, low)
end

-- The next tick of a logical clock whose last one was `previous`: grows strictly, and after a lost key or a failover
-- goes on from the time, so that no number is given twice.
local function next_tick(previous)
  return math.max(previous + 1, now_us)
end
