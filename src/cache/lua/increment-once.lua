#!lua
--[[
  increment-once: add to a counter under a guard, or so that a retry counts once; or both.

  KEYS[1] counter  string  <ns>:cache:{<key>}, a bare decimal integer
  KEYS[2] fence    string  <ns>:fence:{<key>}, as lib/fence.lua says
  KEYS[3] request  string  <ns>:request:{<key>}:<request id>, the answer it got

  ARGV[1] delta       integer  decimal, -2^63..2^63-1
  ARGV[2] ttlMs       integer  0..31536000000, for a counter that is created; 0 = no expiry
  ARGV[3] floor       integer  decimal, -2^63..2^63-1; empty = none
  ARGV[4] ceiling     integer  decimal, -2^63..2^63-1; empty = none
  ARGV[5] guard       bytes    22, see lib/fence.lua; empty = none
  ARGV[6] rememberMs  integer  0..31536000000, for the request; 0 = there is no request id

  Returns
    {'APPLIED', value}        added, now or by an earlier try of the request; value is a decimal string
    {'REFUSED', value}        the sum is outside floor and ceiling; the value that is there, '0' where there is none
    {'OVERFLOW', value}       the sum is no signed 64-bit integer; the value that is there
    {'FENCED', token}         this token of the guard's resource, a decimal string, was accepted before
    {'TOO_MANY_GUARDS', '0'}  4 other resources guard the counter

  Errors:    WRONGTYPE where the key holds an entry or a collection.
  Atomicity: the request is looked up, the guard checked and the sum made in one step.
  Retry:     counts once with a request id; without, again.    Clock: Redis TIME and its own expiry.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/fence.lua"
--- @include "lib/int64.lua"
--- @include "lib/counter.lua"
local counter, fence_key, request = KEYS[1], KEYS[2], KEYS[3]
local guard, remember_ms = ARGV[5], tonumber(ARGV[6])
if not remember_ms or remember_ms < 0 then return redis.error_reply('BADARG rememberMs') end

local answered = remember_ms > 0 and redis.call('GET', request)
if answered then return {'APPLIED', answered} end

local fence = live_fence(redis.call('GET', fence_key) or nil)
if guard ~= '' then
  local raised, refusal = raise_fence(fence, guard)
  if refusal then return refusal end
  fence = raised
end

local reply = add_to_counter(counter, ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4])
if reply[1] ~= 'APPLIED' then return reply end
if guard ~= '' then redis.call('SET', fence_key, fence, 'PXAT', decimal(fence_until(fence))) end
if remember_ms > 0 then redis.call('SET', request, reply[2], 'PX', remember_ms) end
return reply
