#!lua flags=allow-oom
--[[
  delete: remove whatever a key holds.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV none

  Returns
    {1}  it held something
    {0}  it held nothing; a lease on it is void now

  Atomicity: the look and the removal are one step.
  Retry:     safe.    Clock: none.
]]
--- @include "lib/entry.lua"
local key = KEYS[1]

local visible = key_is_visible(key)
redis.call('UNLINK', key)
return {visible and 1 or 0}
