import { throwIfNoSignal } from '../transport/abort-signal.js';
import { Buffer } from 'node:buffer';
import { status as Code } from '@grpc/grpc-js';
import type { WatchSessionsResponse } from '../../gen/shardkeep/session/v1/session.js';
import { shardkeepError } from '../errors.js';
import { functionIn, listIn, objectIn, optionsIn, textIn, type OptionNames } from '../arguments.js';
import { STREAM_OPTIONS, type StreamOptions } from '../rpc/stream-channel.js';
import type { ResumingStream } from './resuming-stream.js';
import { RESYNC, toSessionEvent, type ResyncEvent, type SessionEvent } from './session-events.js';

/** Whose sessions are watched: at least one of users, sessions or all. */
export interface SessionSelection {
  /** Up to 256. */
  readonly userIds?: readonly string[] | undefined;
  /** Up to 256. */
  readonly sessionIds?: readonly string[] | undefined;
  /** All sessions of the namespace. */
  readonly all?: boolean | undefined;
  /** `SessionWatch.cursor` of an earlier watch of the same choice, maybe in another process. Absent: from now on. */
  readonly cursor?: string | undefined;
}

export interface WatchSessionsOptions extends StreamOptions {
  /**
   * Called, and awaited, where a `resync` event would be told, which then is not. What it throws ends the watch, whose cursor
   * is then still before the resync.
   */
  readonly onResync?: (() => void | Promise<void>) | undefined;
}

const SELECTION: OptionNames<SessionSelection> = { userIds: true, sessionIds: true, all: true, cursor: true };
const WATCH_SESSIONS_OPTIONS: OptionNames<WatchSessionsOptions> = { ...STREAM_OPTIONS, onResync: true };

/** What of a selection makes the request; throws InvalidArgumentError. */
export function watchedIn(selection: SessionSelection): {
  readonly userIds: string[];
  readonly sessionIds: string[];
  readonly all: boolean;
  readonly cursor: Buffer;
} {
  const { userIds, sessionIds, all, cursor } = optionsIn(objectIn(selection, 'selection'), SELECTION);
  return {
    userIds: listIn(userIds ?? [], 'userIds'),
    sessionIds: listIn(sessionIds ?? [], 'sessionIds'),
    all: all ?? false,
    cursor: Buffer.from(textIn(cursor ?? '', 'cursor'), 'base64url'),
  };
}

/** Throws InvalidArgumentError. */
export function checkWatchOptions(options: WatchSessionsOptions): void {
  const { onResync, signal } = optionsIn(options, WATCH_SESSIONS_OPTIONS);
  throwIfNoSignal(signal);
  if (onResync !== undefined) functionIn(onResync, 'onResync');
}

/**
 * What becomes of sessions, to be read once with `for await`: every event at least once, those of a user in order. It goes on
 * by itself when the connection or the service goes away. The loop ends when the watch or the client is closed, the
 * signal aborts or the loop is left; it throws InvalidArgumentError, PermissionDeniedError, UnauthenticatedError or
 * UnimplementedError, which no second try heals.
 */
export class SessionWatch implements AsyncIterable<SessionEvent | ResyncEvent> {
  /**
   * Resolves when what happens from then on is told, for the first time; how often the watch is opened again later does not
   * change it. Rejects when the watch ends before.
   */
  readonly ready: Promise<void>;
  private readonly first: Promise<WatchSessionsResponse | undefined>;
  private readonly told = this.tell();
  private readonly signal: AbortSignal | undefined;
  private readonly onResync: WatchSessionsOptions['onResync'];

  constructor(
    private readonly stream: ResumingStream,
    private position: Buffer,
    { signal, onResync }: WatchSessionsOptions,
  ) {
    this.signal = signal;
    this.onResync = onResync;
    signal?.addEventListener('abort', this.close, { once: true });
    if (signal?.aborted === true) this.close();
    this.first = stream.next();
    this.ready = this.first.then((message) => {
      if (message === undefined) throw shardkeepError(Code.CANCELLED, 'the watch was closed before it began');
    });
    // whoever reads the events is told of the failure there
    this.ready.catch(() => undefined);
  }

  /**
   * Where the watch is: behind the events that the loop has dealt with, which it has when it asks for the next. Good for 10
   * minutes; it moves also while nothing happens, so whoever keeps it should do so every minute or so, not only with events.
   * Undefined: the watch has not begun.
   */
  get cursor(): string | undefined {
    return this.position.length === 0 ? undefined : this.position.toString('base64url');
  }

  /** Ends the watch, and the loop that reads it. */
  readonly close = (): void => {
    this.signal?.removeEventListener('abort', this.close);
    this.stream.close();
  };

  [Symbol.asyncIterator](): AsyncIterableIterator<SessionEvent | ResyncEvent, undefined> {
    const iterator: AsyncIterableIterator<SessionEvent | ResyncEvent, undefined> = {
      next: () => this.told.next(),
      return: () => {
        // a generator that has not begun, or waits, would not come to its own end
        this.close();
        return this.told.return(undefined);
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  private async *tell(): AsyncGenerator<SessionEvent | ResyncEvent, undefined, undefined> {
    try {
      let message = await this.first;
      while (message !== undefined) {
        if (message.resync) {
          if (this.onResync === undefined) yield RESYNC;
          else await this.onResync();
        }
        for (const event of message.events) {
          if (this.stream.isClosed) return undefined;
          yield toSessionEvent(event);
        }
        if (message.cursor.length > 0) this.position = message.cursor;
        message = await this.stream.next();
      }
      return undefined;
    } finally {
      this.close();
    }
  }
}
