import {
  SessionEventType,
  SessionServiceService,
  type SessionEvent,
  type WatchSessionsRequest,
  type WatchSessionsResponse,
} from '../../src/gen/shardkeep/session/v1/session.js';
import type { PromiseClient, TestChannel } from '../support/client.js';
import { openStream, type TestStream } from '../support/stream-client.js';

/** A stream of WatchSessions as a caller keeps it. */
export class SessionWatching {
  readonly stream: TestStream<WatchSessionsRequest, WatchSessionsResponse>;
  private seen = 0;

  constructor(channel: TestChannel, request: Partial<WatchSessionsRequest>) {
    this.stream = openStream(channel, SessionServiceService.watchSessions, request);
  }

  /** Waits for the first response: what happens from then on is told. */
  async begun(): Promise<this> {
    await this.stream.untilMessages(1);
    return this;
  }

  /** The next response that matches, behind those that were looked at before. */
  async until(matches: (response: WatchSessionsResponse) => boolean): Promise<WatchSessionsResponse> {
    for (;;) {
      await this.stream.untilMessages(this.seen + 1);
      const response = this.stream.messages[this.seen++];
      if (response !== undefined && matches(response)) return response;
    }
  }

  /** Waits until so many events were told, and answers them all. */
  async untilEvents(count: number): Promise<readonly SessionEvent[]> {
    while (this.events.length < count) await this.stream.untilMessages(this.stream.messages.length + 1);
    return this.events;
  }

  get events(): readonly SessionEvent[] {
    return this.stream.messages.flatMap(({ events }) => events);
  }

  get resyncs(): number {
    return this.stream.messages.filter(({ resync }) => resync).length;
  }

  /** Where the stream is. */
  get cursor(): Buffer {
    return this.stream.messages.findLast(({ cursor }) => cursor.length > 0)?.cursor ?? Buffer.alloc(0);
  }
}

export type Sessions = PromiseClient<typeof SessionServiceService>;

/** Logs a user in; answers the id of the session. */
export async function login(sessions: Sessions, userId: string, profile = ''): Promise<string> {
  const { session } = await sessions.createSession({ userId, profile });
  if (session === undefined) throw new Error('not created');
  return session.sessionId;
}

/** Type and session of events, to compare. */
export function brief(events: readonly SessionEvent[]): string[] {
  return events.map(({ type, sessionId }) => `${SessionEventType[type].toLowerCase()} ${sessionId}`);
}
