import { Buffer } from 'node:buffer';
import {
  InvalidationMode,
  type CacheServiceService,
  type WatchRequest,
  type WatchResponse,
} from '../gen/shardkeep/cache/v1/cache.js';
import type { Implementation, StreamContext } from '../grpc/rpc.js';
import { anything, bytes, list, text } from '../grpc/rules.js';
import * as fields from './fields.js';
import type { Changes, Watcher } from './watch/watcher.js';

export interface WatchHandlerOptions {
  readonly openWatcher: (namespace: string) => Watcher;
}

/** A cursor of another version is no error: its bearer is told to read everything anew. */
const MAX_CURSOR_BYTES = 64;

const keyNames = list(fields.key, { min: 0, max: 1_024, unique: true });
const prefixes = list(text({ minBytes: 1, maxBytes: 512 }), { min: 0, max: 256, unique: true });
const tags = list(fields.tag, { min: 0, max: 1_024, unique: true });

export function watchMethods({
  openWatcher,
}: WatchHandlerOptions): Pick<Implementation<typeof CacheServiceService>, 'watch'> {
  return {
    watch: {
      rules: {
        cursor: bytes({ maxBytes: MAX_CURSOR_BYTES }),
        addKeys: keyNames,
        removeKeys: keyNames,
        addPrefixes: prefixes,
        removePrefixes: prefixes,
        addTags: tags,
        removeTags: tags,
        addEvictions: anything,
      },
      onDrain: 'end',
      handle: (requests, call) => watch(openWatcher(call.principal.namespace), requests, call),
    },
  };
}

async function* watch(
  watcher: Watcher,
  requests: AsyncIterable<WatchRequest>,
  call: StreamContext,
): AsyncGenerator<WatchResponse, void> {
  // whoever waits for the next change would not hear of the end
  call.whenEnded(() => {
    watcher.close();
  });
  void subscribe(watcher, requests);
  for (;;) {
    const changes = await watcher.next();
    if (changes === undefined) return;
    yield toResponse(changes);
  }
}

async function subscribe(watcher: Watcher, requests: AsyncIterable<WatchRequest>): Promise<void> {
  try {
    for await (const request of requests) watcher.subscribe({ ...request, cursor: Buffer.from(request.cursor) });
  } catch (error) {
    watcher.fail(error);
  }
}

const NO_BYTES = Buffer.alloc(0);

function toResponse(changes: Changes): WatchResponse {
  return {
    keys: [...changes.keys],
    tags: changes.tags.map(({ tag, mode }) => ({
      tag,
      mode: mode === 'hard' ? InvalidationMode.HARD : InvalidationMode.SOFT,
    })),
    resync: changes.resync,
    requestsInForce: BigInt(changes.subscriptionsInForce),
    evicted: BigInt(changes.evicted),
    cursor: changes.cursor ?? NO_BYTES,
  };
}
