#!lua flags=allow-oom
--[[
  fail-lease: give a lease back without a value, and let the next load wait.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] token         bytes    16, of the lease
  ARGV[2] retryAfterMs  integer  0..31536000000; 0 = the next caller loads at once

  Returns
    {1}  done
    {0}  the lease is lost

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: look and change are one step.
  Retry:     a second try finds the lease lost.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local entry = KEYS[1]
local token, retry_after_ms = ARGV[1], tonumber(ARGV[2])
if not retry_after_ms or retry_after_ms < 0 then return redis.error_reply('BADARG retryAfterMs') end

local header, wrong_type = read_entry(entry)
if wrong_type then return wrong_type end
if not holds_lease(header and header.fields[FIELD_LEASE], token) then return {0} end

local waiting = retry_after_ms > 0 and pack_lease(LEASE_OF_NOBODY, now_ms, now_ms + retry_after_ms) or nil
replace_lease(entry, header, waiting)
return {1}
