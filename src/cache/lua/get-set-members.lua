#!lua flags=no-writes
--[[
  get-set-members: read a page of a set.

  KEYS[1] set  set  <ns>:cache:{<key>}

  ARGV[1] place     text     where the page begins, as a page before answered it; empty = the first page
  ARGV[2] pageSize  integer  1..1000, the most members
  ARGV[3] maxBytes  integer  1..; the most bytes they have together, unless it is only one

  Returns
    {size, place, member, …}  how many members the set has, where the next page begins (empty = this was the last one),
                              and the members

  A place is <run id>:<cursor>:<after>:<seen>, all in hex but the cursor.
    cursor  of SSCAN, for the hash table of a large set. Its order depends on the process: with another run id (restart,
            failover, moved slot) it begins anew, because members would be missed.
    after   the members of a small set, which SSCAN gives only all at once, come in the order of their SHA-1; this is the
            last one answered. Members before it are left out for good, also when the set has become large since.
    seen    SHA-1 of the members answered already of the first bucket at the cursor, where it has more than a page takes.
            Each is named, because a table that shrinks lays buckets together: an order among them would hide some.

  Errors:    WRONGTYPE where the key holds another kind.
  Atomicity: one look; from page to page what SSCAN promises.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "lib/collection.lua"
local set = KEYS[1]
local place, page_size, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- In the first SSCAN of a page, before it is known how large members are, and in any: all that does not fit is read in
-- vain, and 32 of the largest members (64 KiB) are twice what a page may hold.
local FIRST_STEP, LARGEST_STEP = 8, 32
-- In one page: many are only needed in a table that is nearly empty.
local MAX_SCANS = 128
local SHA1_DIGITS = 40
if not page_size or page_size < 1 then return redis.error_reply('BADARG pageSize') end
if not max_bytes or max_bytes < 1 then return redis.error_reply('BADARG maxBytes') end
local run_id, cursor, after, seen = string.match(place, '^(%x+):(%d+):(%x*):(%x*)$')
if place ~= '' and not run_id then return redis.error_reply('BADARG place') end

local exists, wrong_type = has_collection(set, 'set')
if wrong_type then return wrong_type end
if not exists then return {0, ''} end

local function current_run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

if place == '' then
  cursor, after, seen = '0', '', ''
elseif run_id ~= current_run_id() then
  cursor, seen = '0', ''
end

local page, page_bytes = {redis.call('SCARD', set), ''}, 0
local FIRST_MEMBER = #page + 1

local function taken()
  return #page - FIRST_MEMBER + 1
end

local function room()
  return page_size - taken()
end

local function take(member)
  page[#page + 1] = member
  page_bytes = page_bytes + #member
end

-- A member always fits on an empty page.
local function fits(member)
  return taken() == 0 or (room() > 0 and page_bytes + #member <= max_bytes)
end

local function all_fit(members)
  local bytes = page_bytes
  for _, member in ipairs(members) do bytes = bytes + #member end
  return #members <= room() and bytes <= max_bytes
end

local function end_page()
  page[2] = table.concat({current_run_id(), cursor, after, seen}, ':')
  return page
end

-- What was not answered on an earlier page.
local function unanswered(members)
  if after == '' and seen == '' then return members end
  local is_seen = {}
  for at = 1, #seen, SHA1_DIGITS do is_seen[string.sub(seen, at, at + SHA1_DIGITS - 1)] = true end
  local left = {}
  for _, member in ipairs(members) do
    local digest = redis.sha1hex(member)
    if digest > after and not is_seen[digest] then left[#left + 1] = member end
  end
  return left
end

if redis.call('OBJECT', 'ENCODING', set) ~= 'hashtable' then
  local left = unanswered(redis.call('SMEMBERS', set))
  if all_fit(left) then
    for _, member in ipairs(left) do take(member) end
    return page
  end
  local digests = {}
  for i, member in ipairs(left) do digests[i] = {redis.sha1hex(member), member} end
  table.sort(digests, function(a, b) return a[1] < b[1] end)
  for _, item in ipairs(digests) do
    if not fits(item[2]) then break end
    take(item[2])
    after = item[1]
  end
  return taken() == #digests and page or end_page()
end

local step = LARGEST_STEP
local function next_count()
  -- only the bucket of which a part was answered
  if seen ~= '' then return 1 end
  -- as many as fit if they are as large as those before
  local likely = taken() == 0 and FIRST_STEP or math.floor((max_bytes - page_bytes) * taken() / page_bytes)
  return math.max(1, math.min(step, room(), likely))
end

for _ = 1, MAX_SCANS do
  local count = next_count()
  local reply = redis.call('SSCAN', set, cursor, 'COUNT', count)
  local members = unanswered(reply[2])
  if all_fit(members) then
    for _, member in ipairs(members) do take(member) end
    cursor, seen = reply[1], ''
    if cursor == '0' then return page end
    if room() == 0 then break end
  elseif count > 1 then
    -- read again with less: a cursor only stands between buckets
    step = math.max(1, math.floor(count / 4))
  else
    if taken() == 0 then
      for _, member in ipairs(members) do
        if not fits(member) then break end
        take(member)
        seen = seen .. redis.sha1hex(member)
      end
    end
    break
  end
end
return end_page()
