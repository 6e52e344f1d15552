#!lua flags=no-writes
--[[
  read-events: what happened in a partition behind a position, or where its events are now.

  KEYS[1] events  stream  <ns>:sessions:{<p>}:events

  ARGV[1] afterId    string   id of the last event seen, 0-0 = none; empty = only answer where the events are now
  ARGV[2] seen       integer  how many events the stream had had with that one; 0..2^53
  ARGV[3] maxEvents  integer  1..1000

  Returns
    {'END', nowMs, lastId, added}                                where the events are now, as nothing else was asked
    {'LOST', nowMs, lastId, added}                               something behind the position is missing; the same
    {'EVENTS', nowMs, seen, more, id, n, field, value, …, id, …} at most maxEvents, each with its number of strings
                                                                 (n) before them. seen = the count without these events;
                                                                 more = 1 when there are others behind them

  Events are numbered as Redis counts what was ever added to a stream, which trimming and moving leave as it is. So none is
  missing when the last one seen is there or was the last to be trimmed, and exactly those numbers follow that were added
  since. The stream is dropped EVENT_STREAM_LIFE_MS after its
  last event and then counts anew; a position that was right in the last EVENT_RETENTION_MS can tell that apart from a
  stream that was lost.

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/event-retention.lua"
local events = KEYS[1]
local after, seen, max_events = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local after_ms = string.match(after, '^(%d+)-%d+$')
if after ~= '' and not after_ms then return redis.error_reply('BADARG afterId') end
if not seen or seen < 0 then return redis.error_reply('BADARG seen') end
if not max_events or max_events < 1 then return redis.error_reply('BADARG maxEvents') end

local stream = {length = 0, ['entries-added'] = 0, ['last-generated-id'] = '0-0'}
if redis.call('EXISTS', events) == 1 then
  local info = redis.call('XINFO', 'STREAM', events)
  for index = 1, #info, 2 do stream[info[index]] = info[index + 1] end
end
local added, last_id = stream['entries-added'], stream['last-generated-id']
if after == '' then return {'END', decimal(now_ms), last_id, decimal(added)} end

-- Dropped since, because nothing had happened for so long: what is there now is all there was after that.
local first_ms = now_ms
if stream.length > 0 then first_ms = tonumber(string.match(stream['first-entry'][1], '^%d+')) end
if added == stream.length and tonumber(after_ms) + EVENT_STREAM_LIFE_MS <= first_ms then seen = 0 end

local behind = '(' .. after
local found = redis.call('XRANGE', events, behind, '+', 'COUNT', max_events)
local trimmed = added - stream.length
local is_other = seen > trimmed and #redis.call('XRANGE', events, after, after, 'COUNT', 1) == 0
if is_other or trimmed > seen or #found ~= math.min(max_events, added - seen) then
  return {'LOST', decimal(now_ms), last_id, decimal(added)}
end

local reply = {'EVENTS', decimal(now_ms), decimal(seen), #found < added - seen and 1 or 0}
for _, event in ipairs(found) do
  local id, strings = event[1], event[2]
  reply[#reply + 1] = id
  reply[#reply + 1] = #strings
  for _, text in ipairs(strings) do reply[#reply + 1] = text end
end
return reply
