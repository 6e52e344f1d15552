-- A lock of npm `redlock` on one node is one string key: the bare resource behind its prefix, whose value is the holder's
-- random text and which expires with the lease. Nothing else may be kept of it, or those who use that package would not
-- know a lock by it. So what must be known of a grant is in the last bit of the expiry: even ms as it was granted, odd when
-- anybody was answered with it since. Needs clock.lua before it.
--- @include "../../../lua/lib/arguments.lua"

local function is_text(key)
  return redis.call('TYPE', key).ok == 'string'
end

local function is_held_by(key, lock_token)
  return is_text(key) and redis.call('GET', key) == lock_token
end
