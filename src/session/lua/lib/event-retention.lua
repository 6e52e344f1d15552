-- How long session events are kept. Watchers that were away for longer find out by RESYNC.
local EVENT_RETENTION_MS = 600000
-- How long the stream of a partition stays behind its last event.
local EVENT_STREAM_LIFE_MS = 2 * EVENT_RETENTION_MS
