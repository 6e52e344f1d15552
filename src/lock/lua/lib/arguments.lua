-- Arguments of all scripts of locks.
local MAX_TTL_MS = 3600000
local MAX_FENCE_RETENTION_MS = 31536000000

-- By digits, because tonumber() also takes '0x10', '1e3', ' 7' and 'nan'.
local function whole_number(digits, min, max)
  local number = string.match(digits, '^%d+$') and tonumber(digits)
  if number and number >= min and number <= max then return number end
  return nil
end

local function is_lock_token(text)
  return #text == 32 and string.find(text, '^[%w_-]+$') ~= nil
end
