import { invalidField } from '../errors.js';
import { ListSide as ProtoListSide, type CacheServiceService } from '../gen/shardkeep/cache/v1/cache.js';
import type { Implementation } from '../grpc/rpc.js';
import { anything, bytes, integer, list, oneOfValues, optional, text } from '../grpc/rules.js';
import type { CollectionExpiry, CollectionStore, ListSide } from './collection-store.js';
import { decodePageToken, encodePageToken, MAX_PAGE_TOKEN_BYTES } from './page-token.js';
import { checkEphemeral, expiry, key, ttlOf, type Expiry } from './fields.js';

export interface CollectionHandlerOptions {
  readonly collections: CollectionStore;
  /** For collections whose creation names no expiry. */
  readonly defaultTtlMs: number;
}

type CollectionMethod = 'addToSet' | 'removeFromSet' | 'getSetMembers' | 'pushToList' | 'getList';

const MAX_ITEM_BYTES = 65_536;
const MAX_ITEMS = 256;
const MAX_OFFSET = 2n ** 32n - 1n;
const DEFAULT_LIMIT = 100;

const members = list(bytes({ minBytes: 1, maxBytes: MAX_ITEM_BYTES }), { min: 1, max: MAX_ITEMS });
const items = list(bytes({ maxBytes: MAX_ITEM_BYTES }), { min: 1, max: MAX_ITEMS });
const bound = optional(integer({ min: 1, max: 1_000_000 }));
const limit = optional(integer({ min: 1, max: 1_000 }));
const side = oneOfValues(ProtoListSide.HEAD, ProtoListSide.TAIL);

/** The methods of CacheService for sets and lists. */
export function collectionMethods({
  collections: store,
  defaultTtlMs,
}: CollectionHandlerOptions): Pick<Implementation<typeof CacheServiceService>, CollectionMethod> {
  const expiryOf = (request: { expiry: Expiry; refreshExpiry: boolean }): CollectionExpiry => ({
    ttlMs: ttlOf(request.expiry, defaultTtlMs),
    refresh: request.refreshExpiry,
  });

  return {
    addToSet: {
      rules: { key, members, expiry, refreshExpiry: anything, maxMembers: bound },
      check: (request) => {
        checkEphemeral(request.expiry, [request.key]);
      },
      handle: async (request, call) => {
        const options = { expiry: expiryOf(request), maxMembers: request.maxMembers };
        const { status, added, size } = await store.addToSet(request.key, request.members, options, call);
        return { applied: status === 'applied', addedCount: added, size: BigInt(size) };
      },
    },
    removeFromSet: {
      rules: { key, members },
      handle: async (request, call) => {
        const { removed, size } = await store.removeFromSet(request.key, request.members, call);
        return { removedCount: removed, size: BigInt(size) };
      },
    },
    getSetMembers: {
      rules: { key, pageSize: limit, pageToken: text({ minBytes: 0, maxBytes: MAX_PAGE_TOKEN_BYTES }) },
      check: (request) => {
        placeOf(request);
      },
      handle: async (request, call) => {
        const page = { place: placeOf(request), pageSize: request.pageSize ?? DEFAULT_LIMIT };
        const { members: found, nextPlace, size } = await store.getSetMembers(request.key, page, call);
        return {
          members: found,
          nextPageToken: encodePageToken(request.key, nextPlace),
          size: BigInt(size),
        };
      },
    },
    pushToList: {
      rules: { key, side, items, expiry, refreshExpiry: anything, maxLength: bound },
      check: (request) => {
        checkEphemeral(request.expiry, [request.key]);
      },
      handle: async (request, call) => {
        const options = { side: toSide(request.side), expiry: expiryOf(request), maxLength: request.maxLength };
        const { length, trimmed } = await store.pushToList(request.key, request.items, options, call);
        return { length: BigInt(length), trimmedCount: BigInt(trimmed) };
      },
    },
    getList: {
      rules: { key, side, offset: integer({ min: 0n, max: MAX_OFFSET }), limit },
      handle: async (request, call) => {
        const { offset } = request;
        const range = { side: toSide(request.side), offset, limit: request.limit ?? DEFAULT_LIMIT };
        const reply = await store.getList(request.key, range, call);
        const length = BigInt(reply.length);
        const next = offset + BigInt(reply.items.length);
        return { items: reply.items, length, nextOffset: next < length ? next : undefined };
      },
    },
  };
}

function placeOf({ key: name, pageToken }: { key: string; pageToken: string }): string {
  const place = decodePageToken(name, pageToken);
  if (place === undefined) throw invalidField('page_token', 'must be the next_page_token of a page of this key');
  return place;
}

function toSide(requested: ProtoListSide): ListSide {
  return requested === ProtoListSide.HEAD ? 'head' : 'tail';
}
