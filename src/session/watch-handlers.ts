import { Buffer } from 'node:buffer';
import { invalidField } from '../errors.js';
import {
  SessionEndCause,
  SessionEventType,
  type SessionEvent as SessionEventMessage,
  type SessionServiceService,
  type WatchSessionsResponse,
} from '../gen/shardkeep/session/v1/session.js';
import type { Implementation, StreamContext } from '../grpc/rpc.js';
import { anything, bytes, list } from '../grpc/rules.js';
import { toEndCause } from './end-message.js';
import * as fields from './fields.js';
import { Selection, type SelectionRequest } from './watch/selection.js';
import type { EventType, SessionEvent } from './watch/session-event.js';
import type { SessionNews, SessionWatcher } from './watch/session-watcher.js';

export interface WatchHandlerOptions {
  readonly openSessionWatcher: (selection: Selection, cursor: Buffer) => SessionWatcher;
}

/** As long as that of a stream of all sessions can be. */
const MAX_CURSOR_BYTES = 16_384;

export function watchMethods({
  openSessionWatcher,
}: WatchHandlerOptions): Pick<Implementation<typeof SessionServiceService>, 'watchSessions'> {
  return {
    watchSessions: {
      rules: {
        userIds: list(fields.userId, { min: 0, max: 256 }),
        sessionIds: list(fields.sessionId, { min: 0, max: 256 }),
        all: anything,
        cursor: bytes({ maxBytes: MAX_CURSOR_BYTES }),
      },
      check: ({ userIds, sessionIds, all }) => {
        if (userIds.length + sessionIds.length === 0 && !all) {
          throw invalidField('user_ids', 'users, sessions or all must be named');
        }
      },
      onDrain: 'end',
      handle: ({ cursor, ...choice }, call) => {
        const request: SelectionRequest = { ...choice, namespace: call.principal.namespace };
        return watch(openSessionWatcher(new Selection(request), Buffer.from(cursor)), call);
      },
    },
  };
}

async function* watch(watcher: SessionWatcher, call: StreamContext): AsyncGenerator<WatchSessionsResponse, void> {
  // whoever waits for the next event would not hear of the end
  call.whenEnded(() => {
    watcher.close();
  });
  try {
    for (;;) {
      const news = await watcher.next();
      if (news === undefined) return;
      yield toResponse(news);
    }
  } finally {
    watcher.close();
  }
}

const NO_BYTES = Buffer.alloc(0);

function toResponse({ events, resync, cursor }: SessionNews): WatchSessionsResponse {
  return { events: events.map(toMessage), resync, cursor: cursor ?? NO_BYTES };
}

const TYPES: Readonly<Record<EventType, SessionEventType>> = {
  created: SessionEventType.CREATED,
  updated: SessionEventType.UPDATED,
  rotated: SessionEventType.ROTATED,
  warned: SessionEventType.WARNED,
  character_taken: SessionEventType.CHARACTER_TAKEN,
  destroyed: SessionEventType.DESTROYED,
  expired: SessionEventType.EXPIRED,
  evicted: SessionEventType.EVICTED,
  theft: SessionEventType.THEFT,
};

function toMessage(event: SessionEvent): SessionEventMessage {
  const { partition, id, type, sessionId, userId, atMs, cause, reason, message, effectiveAtMs, characterId } = event;
  return {
    eventId: `${String(partition)}-${id}`,
    type: TYPES[type],
    sessionId,
    userId,
    atMs: BigInt(atMs),
    cause: cause === undefined ? SessionEndCause.UNSPECIFIED : toEndCause(cause),
    reason,
    message,
    effectiveAtMs: BigInt(effectiveAtMs),
    characterId,
  };
}
