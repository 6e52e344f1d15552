-- Writing entries. Needs entry.lua, fence.lua and lease.lua before it.

-- Until when the key of such an entry has to live; 0 = it must not expire.
local function key_until(expires_at, fields)
  if expires_at == 0 then return 0 end
  return math.max(expires_at, fence_until(fields[FIELD_FENCE]), lease_until(fields[FIELD_LEASE]))
end

-- Writes an entry with its value; `flags` are those of the header.
local function store_entry(key, flags, version, created_at, expires_at, fields, value)
  local packed = pack_entry(flags, version, created_at, expires_at, fields, value)
  local key_expires_at = key_until(expires_at, fields)
  if key_expires_at > 0 then
    redis.call('SET', key, packed, 'PXAT', decimal(key_expires_at))
  else
    redis.call('SET', key, packed)
  end
end

-- Leaves of an entry only a lease or a fence, or nothing where there is neither.
local function store_header(key, version, fields)
  local key_expires_at = math.max(fence_until(fields[FIELD_FENCE]), lease_until(fields[FIELD_LEASE]))
  if key_expires_at > now_ms then
    redis.call('SET', key, pack_entry(0, version, 0, 0, fields, ''), 'PXAT', decimal(key_expires_at))
  else
    redis.call('UNLINK', key)
  end
end

-- Gives an entry, or what is left of one, another lease; nil for none. The rest stays as it is.
local function replace_lease(key, header, lease)
  header.fields[FIELD_LEASE] = lease
  if header.flags == 0 then
    store_header(key, header.version, header.fields)
  else
    local value = redis.call('GETRANGE', key, header.value_at, -1)
    store_entry(key, header.flags, header.version, header.created_at, header.expires_at, header.fields, value)
  end
end
