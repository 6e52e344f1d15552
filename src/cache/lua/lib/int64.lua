-- Signed 64-bit arithmetic on decimal strings. A Lua number is a double and loses digits past 2^53, so a number is kept
-- as high · 10^9 + low with low in 0 … 10^9 - 1; both halves stay exact.
local INT64_HALF = 1000000000

local function int64_normalized(high, low)
  local carry = math.floor(low / INT64_HALF)
  return {high = high + carry, low = low - carry * INT64_HALF}
end

-- nil where `digits` is no decimal integer of at most 19 digits as INCRBY takes it: '007' and '-0' are none.
local function int64_parse(digits)
  local sign, magnitude = string.match(digits, '^(%-?)(%d+)$')
  if not magnitude or #magnitude > 19 then return nil end
  if string.sub(magnitude, 1, 1) == '0' and digits ~= '0' then return nil end
  local high = tonumber(string.sub(magnitude, 1, -10)) or 0
  local low = tonumber(string.sub(magnitude, -9))
  if sign == '-' then return int64_normalized(-high, -low) end
  return int64_normalized(high, low)
end

local function int64_add(a, b)
  return int64_normalized(a.high + b.high, a.low + b.low)
end

local function int64_less(a, b)
  if a.high ~= b.high then return a.high < b.high end
  return a.low < b.low
end

-- True for what fits into signed 64 bits.
local function int64_fits(n)
  return not int64_less(n, int64_parse('-9223372036854775808'))
    and not int64_less(int64_parse('9223372036854775807'), n)
end
