#!lua flags=allow-oom
--[[
  check-format: claim a namespace for this data format, or tell which format holds it.

  KEYS[1] meta  hash  <ns>:meta  fields: format, partitions

  ARGV[1] format      integer  the service's data format, 1..
  ARGV[2] partitions  integer  the service's session partitions, 1..16384

  Returns
    {format, partitions}  as stored now; the service compares

  Atomicity: two services that start at once on an empty Redis agree.
  Retry:     safe.    Clock: none.
]]
local meta = KEYS[1]
local format, partitions = tonumber(ARGV[1]), tonumber(ARGV[2])
if not format or not partitions then return redis.error_reply('BADARG format') end

local stored = redis.call('HMGET', meta, 'format', 'partitions')
if stored[1] and stored[2] then return {stored[1], stored[2]} end
redis.call('HSET', meta, 'format', ARGV[1], 'partitions', ARGV[2])
return {ARGV[1], ARGV[2]}
