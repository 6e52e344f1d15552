-- Makes all times of a record or a standing earlier by ARGV[1] µs, and so its expiry.
local key, us = KEYS[1], tonumber(ARGV[1])
local kind = redis.call('TYPE', key).ok
if kind == 'none' then return 0 end

-- Where the times of a value of the standing are.
local TIMES = {ban = {1}, block = {1}, limit = {2}, count = {2, 4}}

local function shift(record, at)
  return string.sub(record, 1, at - 1)
    .. struct.pack('>I8', struct.unpack('>I8', record, at) - us)
    .. string.sub(record, at + 8)
end

if kind == 'zset' then
  local slots = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #slots, 2 do redis.call('ZADD', key, string.format('%.0f', slots[at + 1] - us / 1000), slots[at]) end
elseif kind == 'hash' then
  local fields = redis.call('HGETALL', key)
  for at = 1, #fields, 2 do
    local value = cmsgpack.unpack(fields[at + 1])
    for _, place in ipairs(TIMES[string.match(fields[at], '^%a+')]) do value[place] = value[place] - us end
    redis.call('HSET', key, fields[at], cmsgpack.pack(value))
  end
else
  local record = redis.call('GET', key)
  local format = string.byte(record)
  if format == 1 then
    for at = string.byte(record, 2) + 1, #record, 8 do
      if struct.unpack('>I8', record, at) > 0 then record = shift(record, at) end
    end
  elseif format == 2 then
    local width, newest = struct.unpack('>I8I8', record, 9)
    if us % width ~= 0 then return redis.error_reply('BADARG not a multiple of ' .. width) end
    record = shift(string.sub(record, 1, 16) .. struct.pack('>I8', newest - us / width) .. string.sub(record, 25), 25)
  elseif format == 3 then
    record = shift(shift(record, 17), 37)
  else
    record = shift(shift(shift(record, 9), 17), 25)
  end
  redis.call('SET', key, record, 'KEEPTTL')
end
local expires_at = redis.call('PEXPIRETIME', key)
redis.call('PEXPIREAT', key, string.format('%.0f', expires_at - math.floor(us / 1000)))
return 1
