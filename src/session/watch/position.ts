import type { ReadEventsReply } from '../watch-scripts.js';
import { compareStreamIds, readEvent, streamIdMs, type SessionEvent } from './session-event.js';

/** Up to where the events of a partition are known. */
export interface Position {
  /** Of the last event that is known in the stream; 0-0: none. */
  readonly id: string;
  /** How many events the stream had had with that one. It begins anew when Redis has dropped an idle stream. */
  readonly seen: number;
  /** Every event from before this moment of Redis's clock is known. */
  readonly asOfMs: number;
}

export function positionOf({ id, number, atMs }: SessionEvent): Position {
  return { id, seen: number, asOfMs: atMs };
}

/** The end of the events, as a reply tells that has none. */
export function endPosition({ lastId, added, nowMs }: Extract<ReadEventsReply, { status: 'end' | 'lost' }>): Position {
  return { id: lastId, seen: added, asOfMs: nowMs };
}

/** What a page has, and the position behind it. */
export function readPage(
  partition: number,
  before: Position,
  page: Extract<ReadEventsReply, { status: 'events' }>,
): { readonly events: readonly SessionEvent[]; readonly position: Position } {
  const { entries, seen, more, nowMs } = page;
  const events = entries.flatMap((entry, index) => readEvent(partition, seen + index + 1, entry) ?? []);
  const id = entries.at(-1)?.id ?? before.id;
  return { events, position: { id, seen: seen + entries.length, asOfMs: more ? streamIdMs(id) : nowMs } };
}

/** Whether events are known at `other` that are not at `position`; neither is behind a stream that was empty. */
export function isBehind(position: Position, other: Position): boolean {
  return other.seen > 0 && compareStreamIds(position.id, other.id) < 0;
}
