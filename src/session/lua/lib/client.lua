-- Whom a session is bound to. Needs record.lua.
local REJECT = 2
local NOT_KNOWN = string.rep('\0', 8)

-- The hashes of whom a session is bound to once its user proved who they are as `client`: what that does not say stays.
local function rebound(bound, client)
  local hashes = ''
  for at = 1, 17, 8 do
    local given = string.sub(client, at, at + 7)
    hashes = hashes .. (given ~= NOT_KNOWN and given or string.sub(bound, at + 1, at + 8))
  end
  return hashes
end

-- Whether the client (the three hashes of field 2, or '' for nobody) is another one than the session's, in a field that the
-- profile says to reject by.
local function client_is_rejected(session, client)
  local bound = client ~= '' and session_field(session, FIELD_CLIENT)
  if not bound then return false end
  local policies = string.byte(bound, 1)
  for at = 1, 17, 8 do
    local given, known = string.sub(client, at, at + 7), string.sub(bound, at + 1, at + 8)
    if policies % 4 == REJECT and given ~= NOT_KNOWN and known ~= NOT_KNOWN and given ~= known then return true end
    policies = math.floor(policies / 4)
  end
  return false
end
