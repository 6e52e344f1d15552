#!lua
--[[
  raise-fence: raise the fence of a lock to the token that a majority has decided, while the vote is still the asker's.

  KEYS[1] lock    hash  <ns>:lock:{<resource>}
  KEYS[2] marker  hash  <ns>:quorum

  ARGV[1] lockToken  text     32 of [A-Za-z0-9_-]
  ARGV[2] fence      integer  1..2^53-1, the decided fencing token
  ARGV[3] maxSkewUs  integer  0..60000000: how far ahead of this master's clock it may be

  Returns
    {'RAISED'}                the fence is at least the token now, and the vote has been the asker's all the time
    {'NOT_HOLDER'}            the vote is not the asker's (any more); nothing changed
    {'CLOCK_SKEW', ahead_ms}  the token is too far ahead of this master's clock; nothing changed
    {'AMNESIA'}               this master may have forgotten votes; nothing changed

  The condition is what makes tokens grow: a raise that came after the vote had gone to another would count a master at
  which that other one is not above the token.
  Atomicity: the look and the raise are one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock, marker = KEYS[1], KEYS[2]
local lock_token, fence, max_skew_us = ARGV[1], whole_number(ARGV[2], 1, MAX_TOKEN), whole_number(ARGV[3], 0, MAX_SKEW_US)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not fence then return redis.error_reply('BADARG fence') end
if not max_skew_us then return redis.error_reply('BADARG maxSkewUs') end

if not is_admitted(marker) then return {'AMNESIA'} end
local stored = redis.call('HMGET', lock, 'fence', 'vote', 'vote_until')
if stored[2] ~= lock_token or tonumber(stored[3]) <= now_ms then return {'NOT_HOLDER'} end
local ahead_ms = skew_ms(fence, max_skew_us)
if ahead_ms and ahead_ms > 0 then return {'CLOCK_SKEW', ahead_ms} end
if tonumber(stored[1]) < fence then redis.call('HSET', lock, 'fence', decimal(fence)) end
return {'RAISED'}
