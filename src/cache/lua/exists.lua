#!lua flags=no-writes
--[[
  exists: tell whether a key holds something for readers.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV none

  Returns
    {1}  it does
    {0}  it does not, or holds only a lease

  Atomicity: one look.
  Retry:     safe.    Clock: none.
]]
--- @include "lib/entry.lua"
local key = KEYS[1]

return {key_is_visible(key) and 1 or 0}
