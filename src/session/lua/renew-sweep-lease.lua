#!lua flags=allow-oom
--[[
  renew-sweep-lease: take, keep or give up the lease of the one process that sweeps.

  KEYS[1] lease  string  <ns>:sweeper  the token of who has it

  ARGV[1] token    string   of the process
  ARGV[2] leaseMs  integer  0..60000; 0 = give it up

  Returns
    {'HELD'}  the process has it for leaseMs from now
    {'FREE'}  given up
    {'TAKEN'} another process has it

  Atomicity: two processes never have it at once, by Redis's clock.
  Retry:     safe.    Clock: Redis TIME.
]]
local lease = KEYS[1]
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
if not lease_ms or lease_ms < 0 then return redis.error_reply('BADARG leaseMs') end

if lease_ms == 0 then
  if redis.call('GET', lease) == token then redis.call('DEL', lease) end
  return {'FREE'}
end
-- One command where another process has it: that is what most processes get most of the time.
local holder = redis.call('SET', lease, token, 'NX', 'GET', 'PX', lease_ms)
if not holder then return {'HELD'} end
if holder ~= token then return {'TAKEN'} end
redis.call('PEXPIRE', lease, lease_ms)
return {'HELD'}
