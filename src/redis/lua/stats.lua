-- What a service counts in a namespace: one hash, <ns>:stats:{…}, and two zsets of the names that it met most, in its slot.
-- Needs clock.lua.
--
--   since        Unix ms: when counting began
--   total        what was counted since then: a list of decimal integers, each counter at its place
--   <minute>     what was added in that Unix minute, the same; kept for 60 minutes
--   parts:<minute> of what was added then what belongs to parts of the namespace, such as policies: each a name, a colon
--                and a list, with spaces between them; kept as long
--   even, odd    the Unix minute that the zset of even or odd minutes is of
--   of:<process> the last addition of a service process and its Unix minute; kept for 10 minutes
--   now:<process> how much of something was going on in the process, and when it said so, Unix ms; counts for 10 seconds,
--                so that a process that died does not count for ever
--
-- Only add-stats writes them. All have an expiry, of the hash 7 days after the last addition.
local STATS_SINCE = 'since'
local STATS_TOTAL = 'total'
local STATS_EVEN = 'even'
local STATS_ODD = 'odd'
local STATS_PARTS = 'parts:'
local STATS_PROCESS = 'of:'
local STATS_ONGOING = 'now:'
local STATS_MINUTES = 60
local STATS_PROCESS_MINUTES = 10
local STATS_ONGOING_MS = 10000
local STATS_KEPT_MS = 604800000
local STATS_HOT_NAMES = 500
-- of one minute; more are not kept
local STATS_MAX_PARTS = 2000
-- a zset is read until the end of the minute after its own
local STATS_HOT_KEPT_MS = 180000
local MINUTE_MS = 60000

local now_minute = math.floor(now_ms / MINUTE_MS)

-- The sums of two lists, as long as the longer one: counters that this version does not know are another's.
local function add_counts(one, other)
  local sums = {}
  for count in string.gmatch(one or '', '%d+') do sums[#sums + 1] = tonumber(count) end
  local place = 0
  for count in string.gmatch(other, '%d+') do
    place = place + 1
    sums[place] = (sums[place] or 0) + tonumber(count)
  end
  for i = 1, #sums do sums[i] = decimal(sums[i]) end
  return table.concat(sums, ',')
end

-- The sums of two texts of parts, by name.
local function add_parts(one, other)
  local names, lists = {}, {}
  for _, parts in ipairs({one or '', other}) do
    for name, counts in string.gmatch(parts, '([^ :]+):([%d,]+)') do
      if lists[name] then
        lists[name] = add_counts(lists[name], counts)
      elseif #names < STATS_MAX_PARTS then
        names[#names + 1] = name
        lists[name] = counts
      end
    end
  end
  for i, name in ipairs(names) do names[i] = name .. ':' .. lists[name] end
  return table.concat(names, ' ')
end

-- How much is going on in a process by what it said last: nothing where that was too long ago.
local function ongoing_in(said)
  local count, at = string.match(said, '^(%d+) (%d+)$')
  return tonumber(at) > now_ms - STATS_ONGOING_MS and tonumber(count) or 0
end

-- Whether nobody needs a field of the hash any more.
local function is_over(stats, field)
  if string.sub(field, 1, #STATS_PARTS) == STATS_PARTS then field = string.sub(field, #STATS_PARTS + 1) end
  if string.find(field, '^%d+$') then return tonumber(field) <= now_minute - STATS_MINUTES end
  if string.sub(field, 1, #STATS_ONGOING) == STATS_ONGOING then return ongoing_in(redis.call('HGET', stats, field)) == 0 end
  if string.sub(field, 1, #STATS_PROCESS) ~= STATS_PROCESS then return false end
  local added_in = tonumber(string.match(redis.call('HGET', stats, field), '%d+$'))
  return added_in <= now_minute - STATS_PROCESS_MINUTES
end
