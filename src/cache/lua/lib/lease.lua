-- A lease: the right to load a value, in the header of its entry. All numbers are big-endian.
--
--   0  16  token; all zero: nobody's, the last load failed and the next one waits
--   16 6   granted_at, Unix ms
--   22 6   until, Unix ms
--
-- A lease that has run out and that nobody else has taken still lets its holder fill: nothing came in between.
local LEASE_TOKEN_BYTES = 16
local LEASE_OF_NOBODY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- Until when a lease runs; 0 where there is none.
local function lease_until(lease)
  return lease and struct.unpack('>I6', lease, 23) or 0
end

local function lease_granted_at(lease)
  return struct.unpack('>I6', lease, 17)
end

local function holds_lease(lease, token)
  return lease ~= nil and token ~= LEASE_OF_NOBODY and string.sub(lease, 1, LEASE_TOKEN_BYTES) == token
end

local function is_lease_of_nobody(lease)
  return string.sub(lease, 1, LEASE_TOKEN_BYTES) == LEASE_OF_NOBODY
end

local function pack_lease(token, granted_at, lease_until_ms)
  return token .. struct.pack('>I6I6', granted_at, lease_until_ms)
end
