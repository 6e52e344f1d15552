-- Adding to a counter, which is a bare decimal integer. Needs int64.lua before it.

-- Adds `delta` within bounds (decimal strings; '' for none); answers {status, value} or an error reply.
local function add_to_counter(counter, delta_digits, ttl_ms, floor_digits, ceiling_digits)
  local delta = int64_parse(delta_digits)
  local floor = floor_digits ~= '' and int64_parse(floor_digits) or nil
  local ceiling = ceiling_digits ~= '' and int64_parse(ceiling_digits) or nil
  if not delta then return redis.error_reply('BADARG delta') end
  if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
  if floor_digits ~= '' and not floor then return redis.error_reply('BADARG floor') end
  if ceiling_digits ~= '' and not ceiling then return redis.error_reply('BADARG ceiling') end

  local stored = redis.call('GET', counter)
  local digits = stored or '0'
  local value = int64_parse(digits)
  if not value or not int64_fits(value) then
    return redis.error_reply('WRONGTYPE the key holds another kind of thing')
  end

  local sum = int64_add(value, delta)
  if not int64_fits(sum) then return {'OVERFLOW', digits} end
  if (floor and int64_less(sum, floor)) or (ceiling and int64_less(ceiling, sum)) then return {'REFUSED', digits} end

  redis.call('INCRBY', counter, delta_digits)
  if not stored and ttl_ms > 0 then redis.call('PEXPIRE', counter, ttl_ms) end
  -- read back, because INCRBY's reply reaches Lua as a double
  return {'APPLIED', redis.call('GET', counter)}
end
