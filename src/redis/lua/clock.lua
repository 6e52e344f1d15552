-- Redis's clock, read once a script.
local redis_time = redis.call('TIME')
local now_us = tonumber(redis_time[1]) * 1000000 + tonumber(redis_time[2])
local now_ms = math.floor(now_us / 1000)

-- '%.0f', because tostring() turns 1.79e15 into '1.79e+15'. Exact up to 2^53, which µs reach in the year 2255.
local function decimal(n)
  return string.format('%.0f', n)
end

-- The next tick of a logical clock whose last one was `previous`: grows strictly, and after a lost key or a failover
-- goes on from the time, so that no number is given twice.
local function next_tick(previous)
  return math.max(previous + 1, now_us)
end
