import type { Call } from '../redis/call.js';
import { keys, type SessionKeys } from '../redis/keys.js';
import { partitionOf } from './token.js';

/** What keys belong to a session id that was found right. */

export function sessionKey(sessionId: string, call: Call): string {
  return keys.session(call.namespace, partitionOf(sessionId), sessionId);
}

export function indexKeys({
  deadlines,
  counters,
  events,
}: SessionKeys): Pick<SessionKeys, 'deadlines' | 'counters' | 'events'> {
  return { deadlines, counters, events };
}
