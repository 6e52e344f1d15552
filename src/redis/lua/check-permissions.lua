#!lua flags=no-writes
--[[
  check-permissions: which of these rights the user lacks that this connection is logged in as.

  KEYS none

  ARGV[1]    namespace  [a-z0-9_-]{1,32}, or '' to leave out commands on keys and channels
  ARGV[2..n] commands   names as an ACL grants them, such as get or script|load

  Returns
    {missing, …}  each as a rule of an ACL: +<command>, ~<namespace>:*, &<namespace>:*; empty: it lacks nothing

  Atomicity: reads only.
  Retry:     safe.    Clock: none.
]]
local namespace = ARGV[1]
-- a Redis of another make may not tell; then whatever is refused is found out by the calls
if not redis.acl_check_cmd then return {} end

-- Redis 7.0 crashes when it is asked about SET or EVAL with too few arguments: each gets as many as it takes
local keyless = {
  asking = true, eval = true, evalsha = true, info = true, ping = true, scan = true, select = true, time = true,
  wait = true,
  client = true, cluster = true, script = true, sunsubscribe = true,
}
-- all that follows would count as keys, or channels
local one_argument = { del = true, exists = true, mget = true, ssubscribe = true, unlink = true }
local of_channels = { spublish = true, ssubscribe = true }

local missing = {}
local keyed = { asked = 0, refused = {} }
local channeled = { asked = 0, refused = {} }
for index = 2, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[index], '[^|]+') do table.insert(words, word) end
  local command = words[1]
  if not keyless[command] then table.insert(words, namespace .. ':') end
  if not one_argument[command] then
    for _ = 1, 4 do table.insert(words, '0') end
  end
  local group = not keyless[command] and (of_channels[command] and channeled or keyed)
  if not group or namespace ~= '' then
    local allowed = redis.acl_check_cmd(unpack(words))
    if group then group.asked = group.asked + 1 end
    if not allowed then table.insert(group and group.refused or missing, '+' .. ARGV[index]) end
  end
end

local function tell(group, pattern)
  if group.asked > 0 and #group.refused == group.asked then
    table.insert(missing, pattern .. namespace .. ':*')
  else
    for _, refused in ipairs(group.refused) do table.insert(missing, refused) end
  end
end
tell(keyed, '~')
tell(channeled, '&')
return missing
