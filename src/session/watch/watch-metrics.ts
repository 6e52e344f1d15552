import type { MetricDefinition } from '../../admin/metrics.js';
import type { SessionFeed } from './session-feed.js';

const EVENT_AGE = 'shardkeep_session_event_age_seconds';

/** What this process counts of the streams of WatchSessions. */
export function watchMetrics(
  feed: Pick<SessionFeed, 'watchers' | 'resyncs' | 'eventAges'>,
): readonly MetricDefinition[] {
  return [
    {
      name: 'shardkeep_session_watchers',
      type: 'gauge',
      help: 'Open streams of WatchSessions.',
      values: () => [{ labels: {}, value: feed.watchers }],
    },
    {
      name: 'shardkeep_session_watch_resyncs_total',
      type: 'counter',
      help: 'How often a stream of WatchSessions was told to read anew.',
      values: () => [{ labels: {}, value: feed.resyncs }],
    },
    {
      name: EVENT_AGE,
      type: 'histogram',
      help: 'How old events were when they were read for those who watch.',
      values: () => feed.eventAges.samples(EVENT_AGE, {}),
    },
  ];
}
