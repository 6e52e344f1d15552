#!lua
--[[
  add-to-set: put members into a set, unless it would grow too large.

  KEYS[1] set  set  <ns>:cache:{<key>}

  ARGV[1] ttlMs          integer  0..31536000000, for a set that is created or refreshed; 0 = no expiry
  ARGV[2] refreshExpiry  integer  1 = a set that is there gets the expiry too; 0 = it keeps its own
  ARGV[3] maxMembers     integer  0..1000000; 0 = no limit
  ARGV[4..n] members     bytes    1 to 256

  Returns
    {'APPLIED', added, size}  all are in the set; how many were not, and how many it has now
    {'REFUSED', 0, size}      the set would have more than maxMembers; nothing changed

  Errors:    WRONGTYPE where the key holds another kind, or the fence of a deleted entry.
  Atomicity: the limit, the members and the expiry of a new set are one step.
  Retry:     safe.    Clock: Redis's own expiry.
  A lease on the key is void afterwards.
]]
--- @include "lib/collection.lua"
local set = KEYS[1]
local ttl_ms, refresh_expiry, max_members = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
if not max_members or max_members < 0 then return redis.error_reply('BADARG maxMembers') end
local members = {unpack(ARGV, 4)}
if #members == 0 then return redis.error_reply('BADARG members') end

local exists, wrong_type = has_collection_or_room(set, 'set')
if wrong_type then return wrong_type end

if max_members > 0 then
  local size = exists and redis.call('SCARD', set) or 0
  local known = exists and redis.call('SMISMEMBER', set, unpack(members)) or {}
  local named, added = {}, 0
  for i, member in ipairs(members) do
    if known[i] ~= 1 and not named[member] then
      named[member] = true
      added = added + 1
    end
  end
  if added > 0 and size + added > max_members then return {'REFUSED', 0, size} end
end

if not exists then redis.call('UNLINK', set) end
local added = redis.call('SADD', set, unpack(members))
if not exists or refresh_expiry then set_expiry(set, ttl_ms) end
return {'APPLIED', added, redis.call('SCARD', set)}
