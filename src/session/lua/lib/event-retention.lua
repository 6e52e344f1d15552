-- How long session events are kept. Watchers that were away for longer find out by RESYNC.
local EVENT_RETENTION_MS = 600000
-- So many are kept while their ids, which never go back, are ahead of a clock that was set back: none gets too old then.
local MAX_EVENTS_AHEAD = 1000
-- How long the stream of a partition stays behind its last event.
local EVENT_STREAM_LIFE_MS = 2 * EVENT_RETENTION_MS
