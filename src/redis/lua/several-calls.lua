-- Runs a script for several calls: what stands before its body once, its body, which is run_call here, for each. All have
-- as many keys and as many arguments.
--
--   KEYS     those of the first call, then those of the second, …
--   ARGV[1]  how many calls
--   ARGV[2]  their arguments in the same order: one cmsgpack array; those of one call where all have the same
--   ARGV[3]  how many arguments a call has
--
-- The reply is one flat array: for each call how many fields its reply has, and the fields, because Redis takes 1 µs for
-- each array in an array. In place of the number stands the error of a call that failed; it fails alone.
local call_count, arguments, arguments_a_call = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[2]), tonumber(ARGV[3])
local keys_a_call, are_same = #KEYS / call_count, #arguments == arguments_a_call

local replies, last = {}, 0
for call = 1, call_count do
  local done, reply = pcall(
    run_call,
    {unpack(KEYS, (call - 1) * keys_a_call + 1, call * keys_a_call)},
    are_same and arguments or {unpack(arguments, (call - 1) * arguments_a_call + 1, call * arguments_a_call)}
  )
  -- what is raised comes as text: that of Redis begins with its code, that of Lua with a place in the script
  if not done and type(reply) ~= 'table' then
    local text = tostring(reply)
    reply = redis.error_reply(string.find(text, '^%u+ ') and text or 'ERR ' .. text)
  end
  last = last + 1
  if reply.err then
    replies[last] = reply
  else
    replies[last] = #reply
    for field = 1, #reply do
      replies[last + field] = reply[field]
    end
    last = last + #reply
  end
end
return replies
