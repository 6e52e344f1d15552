import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import {
  addToSetScript,
  getListScript,
  getSetMembersScript,
  pushToListScript,
  removeFromSetScript,
  type AddToSetReply,
  type GetListReply,
  type GetSetMembersReply,
  type PushToListReply,
  type RemoveFromSetReply,
} from './collection-scripts.js';

/** Members of a page, and items of an answer, together: a quarter of what the smallest message limit takes. */
const MAX_ANSWER_BYTES = 1_048_576;

export interface CollectionExpiry {
  /** For a collection that is created or refreshed; 0: no expiry. */
  readonly ttlMs: number;
  /** Whether one that is there gets it too. */
  readonly refresh: boolean;
}

export type ListSide = 'head' | 'tail';

/** Sets and lists on the `cache` Redis, at the keys of entries and counters. Every method is atomic. */
export class CollectionStore {
  constructor(private readonly redis: Redis) {}

  /** `maxMembers` undefined: no limit. */
  addToSet(
    key: string,
    members: readonly Buffer[],
    options: { expiry: CollectionExpiry; maxMembers: number | undefined },
    call: Call,
  ): Promise<AddToSetReply> {
    const { expiry, maxMembers = 0 } = options;
    const set = keys.cache(call.namespace, key);
    const args = { ...expiryArgs(expiry), maxMembers: String(maxMembers), '...members': members };
    return this.redis.run(addToSetScript.bind({ set }, args), call);
  }

  removeFromSet(key: string, members: readonly Buffer[], call: Call): Promise<RemoveFromSetReply> {
    const set = keys.cache(call.namespace, key);
    return this.redis.run(removeFromSetScript.bind({ set }, { '...members': members }), call);
  }

  /** `place` is what the page before answered; empty: the first page. */
  getSetMembers(
    key: string,
    page: { readonly place: string; readonly pageSize: number },
    call: Call,
  ): Promise<GetSetMembersReply> {
    const set = keys.cache(call.namespace, key);
    const args = { place: page.place, pageSize: String(page.pageSize), maxBytes: String(MAX_ANSWER_BYTES) };
    return this.redis.run(getSetMembersScript.bind({ set }, args), call);
  }

  /** `maxLength` undefined: no limit. */
  pushToList(
    key: string,
    items: readonly Buffer[],
    options: { side: ListSide; expiry: CollectionExpiry; maxLength: number | undefined },
    call: Call,
  ): Promise<PushToListReply> {
    const { side, expiry, maxLength = 0 } = options;
    const list = keys.cache(call.namespace, key);
    const args = { side, ...expiryArgs(expiry), maxLength: String(maxLength), '...items': items };
    return this.redis.run(pushToListScript.bind({ list }, args), call);
  }

  getList(
    key: string,
    range: { readonly side: ListSide; readonly offset: bigint; readonly limit: number },
    call: Call,
  ): Promise<GetListReply> {
    const { side, offset, limit } = range;
    const list = keys.cache(call.namespace, key);
    const args = { side, offset: String(offset), limit: String(limit), maxBytes: String(MAX_ANSWER_BYTES) };
    return this.redis.run(getListScript.bind({ list }, args), call);
  }
}

function expiryArgs({ ttlMs, refresh }: CollectionExpiry): { ttlMs: string; refreshExpiry: string } {
  return { ttlMs: String(ttlMs), refreshExpiry: refresh ? '1' : '0' };
}
