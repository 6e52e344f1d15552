#!lua flags=allow-oom
--[[
  reset-rate-limit: forget what was charged to one limit.

  KEYS[1] ring  string  <ns>:ratelimit:{<subject>}:<policy>

  ARGV none

  Returns
    {1}  something had been charged
    {0}  nothing had

  Atomicity: one removal.
  Retry:     safe.    Clock: none.
]]
local ring = KEYS[1]

return {redis.call('UNLINK', ring)}
