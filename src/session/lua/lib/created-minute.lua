-- How many sessions were created in a minute and in the one before it, in one field `<minute>:<count>:<count before>`, so
-- that nothing has to be cleared. Needs clock.lua.
local MINUTE_MS = 60000

-- The field with one more session.
local function count_created(field)
  local minute = math.floor(now_ms / MINUTE_MS)
  local counted, count, before = string.match(field or '', '^(%d+):(%d+):(%d+)$')
  if tonumber(counted) == minute then
    count = tonumber(count) + 1
  else
    before = tonumber(counted) == minute - 1 and count or 0
    count = 1
  end
  return decimal(minute) .. ':' .. decimal(count) .. ':' .. decimal(tonumber(before))
end
