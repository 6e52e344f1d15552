#!lua
--[[
  get-or-lease: read an entry, or become the one caller who loads it.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] token     bytes    16, random: of the lease that may be granted
  ARGV[2] leaseMs   integer  1..31536000000
  ARGV[3] judged    bytes    8, big-endian: the version of which the next argument speaks; empty = none
  ARGV[4] judgement word     dead | stale | early; empty = none

  Returns
    {'HIT', packed}                    the entry, fresh
    {'STALE', packed, waitMs, failed}  the entry, which is stale, and somebody loads it for waitMs at most
    {'LEASED', packed}                 the caller loads; the entry as far as there is one to use meanwhile, or ''
    {'LOADING', '', waitMs, failed}    nothing to use, and somebody loads
                                       failed 1: nobody loads, the last one failed and asked to wait

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: of all callers who find no fresh entry and no lease, one is granted one.
  Retry:     waits for the first try's lease.    Clock: Redis TIME.
  What the service judged of the version it read (its tags are dead, or stale, or it is to be loaded early) counts only
  while the entry has that version. An early load is granted once a lease; everybody else still hits.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local entry = KEYS[1]
local token, lease_ms, judged, judgement = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if #token ~= LEASE_TOKEN_BYTES then return redis.error_reply('BADARG token') end
if not lease_ms or lease_ms < 1 then return redis.error_reply('BADARG leaseMs') end

local header, wrong_type = read_entry(entry)
if wrong_type then return wrong_type end

local usable, fresh, early, lease = false, false, false, nil
if header then
  if judged == '' or not has_version(header, judged) then judgement = '' end
  usable = (header.visible or header.absent) and judgement ~= 'dead'
  local fresh_until = header.fields[FIELD_FRESH_UNTIL]
  fresh = usable and judgement ~= 'stale' and not (fresh_until and now_ms >= struct.unpack('>I6', fresh_until))
  early = judgement == 'early'
  lease = header.fields[FIELD_LEASE]
end

local packed = usable and redis.call('GET', entry) or ''
local wait_ms = lease_until(lease) - now_ms
if fresh and (not early or wait_ms > 0) then return {'HIT', packed} end
if wait_ms > 0 then
  local failed = is_lease_of_nobody(lease) and 1 or 0
  return {usable and 'STALE' or 'LOADING', packed, wait_ms, failed}
end

local fields = header and header.fields or {}
fields[FIELD_FENCE] = live_fence(fields[FIELD_FENCE])
fields[FIELD_LEASE] = pack_lease(token, now_ms, now_ms + lease_ms)
if usable then
  local value = string.sub(packed, header.value_at + 1)
  store_entry(entry, header.flags, header.version, header.created_at, header.expires_at, fields, value)
else
  -- what is dead goes: nobody may read it any more
  local version = header and header.version or 0
  store_header(entry, version, {[FIELD_FENCE] = fields[FIELD_FENCE], [FIELD_LEASE] = fields[FIELD_LEASE]})
end
return {'LEASED', packed}
