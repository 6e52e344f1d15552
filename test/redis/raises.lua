#!lua
--[[
  raises: fail in every way a script can.
]]
local key, way = KEYS[1], ARGV[1]
if way == 'lua' then error('raised by Lua') end
if way == 'runtime' then return {key.missing.field} end
if way == 'redis' then redis.call('LPUSH', key, 'item') end
if way == 'reply' then return redis.error_reply('BADARG way') end
return {way}
