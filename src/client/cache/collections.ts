import {
  AddToSetRequest,
  GetListRequest,
  GetSetMembersRequest,
  ListSide,
  PushToListRequest,
  RemoveFromSetRequest,
} from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { ValueFormat } from './codec/value-format.js';
import type { Degrading } from './degrading.js';
import { EXPIRY_OPTIONS, expiryOf, type ExpiryOptions } from './expiry.js';
import { wordIn, listIn, optionsIn, wholeNumberIn, type OptionNames } from '../arguments.js';

export interface CollectionWriteOptions extends ExpiryOptions, CallOptions {
  /** A collection that is there gets the expiry of this call too, so it lives as long as somebody writes to it. */
  readonly refreshExpiry?: boolean;
}

export interface AddToSetOptions extends CollectionWriteOptions {
  /** The most members the set may have, 1 to 1,000,000. */
  readonly maxMembers?: number;
}

export interface AddedToSet {
  /** False: the set would have grown past `maxMembers`, and nothing changed; or the write was lost and logged. */
  readonly applied: boolean;
  readonly addedCount: number;
  readonly size: number;
}

export interface PushToListOptions extends CollectionWriteOptions {
  /** The end to push at; `tail` by default. */
  readonly side?: 'head' | 'tail';
  /** The most items the list keeps, 1 to 1,000,000; the rest goes from the other end in the same step. */
  readonly maxLength?: number;
}

export interface GetListOptions extends CallOptions {
  /** The end to count from; `head` by default. */
  readonly side?: 'head' | 'tail';
  /** Items to leave out at that end, 0 to 4,294,967,295; 0 by default. */
  readonly offset?: number;
  /** Items to answer at most, from 0; all by default (Infinity), in as many calls as that takes. */
  readonly limit?: number;
}

const COLLECTION_OPTIONS: OptionNames<CollectionWriteOptions> = {
  ...EXPIRY_OPTIONS,
  ...CALL_OPTIONS,
  refreshExpiry: true,
};
const ADD_TO_SET_OPTIONS: OptionNames<AddToSetOptions> = { ...COLLECTION_OPTIONS, maxMembers: true };
const PUSH_TO_LIST_OPTIONS: OptionNames<PushToListOptions> = {
  ...COLLECTION_OPTIONS,
  side: true,
  maxLength: true,
};
const GET_LIST_OPTIONS: OptionNames<GetListOptions> = {
  ...CALL_OPTIONS,
  side: true,
  offset: true,
  limit: true,
};

const PAGE = 1_000;
const SIDES = { head: ListSide.HEAD, tail: ListSide.TAIL } as const;
/** What the contract allows a collection to be capped at. */
const CAP = { min: 1, max: 1_000_000 };
const OFFSET = { min: 0, max: 2 ** 32 - 1 };
const LIMIT = { min: 0, max: Number.MAX_SAFE_INTEGER };

/** Sets and lists under a key. Their members are encoded without header and compression, so that equal ones are the same. */
export class Collections {
  constructor(
    private readonly rpc: Rpc['cache'],
    private readonly format: ValueFormat,
    private readonly degrading: Degrading,
  ) {}

  async addToSet(key: string, members: readonly unknown[], options: AddToSetOptions): Promise<AddedToSet> {
    optionsIn(options, ADD_TO_SET_OPTIONS);
    const request = AddToSetRequest.fromPartial({
      key,
      members: this.encoded(members, 'members'),
      refreshExpiry: options.refreshExpiry ?? false,
      maxMembers: capOf(options.maxMembers, 'maxMembers'),
    });
    request.expiry = expiryOf(options);
    const lost = { applied: false, addedCount: 0, size: 0n };
    const added = await this.degrading.write('members of a set are lost', lost, options, () =>
      this.rpc.addToSet(request, options),
    );
    return { ...added, size: Number(added.size) };
  }

  async removeFromSet(key: string, members: readonly unknown[], options: CallOptions): Promise<number> {
    optionsIn(options, CALL_OPTIONS);
    const request = RemoveFromSetRequest.fromPartial({
      key,
      members: this.encoded(members, 'members'),
    });
    const lost = { removedCount: 0, size: 0n };
    const { removedCount } = await this.degrading.write('a removal from a set is lost', lost, options, () =>
      this.rpc.removeFromSet(request, options),
    );
    return removedCount;
  }

  async getSetMembers(key: string, options: CallOptions): Promise<unknown[]> {
    optionsIn(options, CALL_OPTIONS);
    return this.degrading.read<unknown[]>('a set could not be read', [], options, async () => {
      const members: unknown[] = [];
      let pageToken = '';
      do {
        const request = GetSetMembersRequest.fromPartial({ key, pageSize: PAGE, pageToken });
        const page = await this.rpc.getSetMembers(request, options);
        for (const member of page.members) this.keep(member, members);
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
      return members;
    });
  }

  async pushToList(key: string, items: readonly unknown[], options: PushToListOptions): Promise<number> {
    const { side = 'tail', refreshExpiry = false, maxLength } = optionsIn(options, PUSH_TO_LIST_OPTIONS);
    const request = PushToListRequest.fromPartial({
      key,
      side: wordIn(SIDES, side, 'side'),
      items: this.encoded(items, 'items'),
      refreshExpiry,
      maxLength: capOf(maxLength, 'maxLength'),
    });
    request.expiry = expiryOf(options);
    const lost = { length: 0n, trimmedCount: 0n };
    const { length } = await this.degrading.write('items of a list are lost', lost, options, () =>
      this.rpc.pushToList(request, options),
    );
    return Number(length);
  }

  async getList(key: string, options: GetListOptions): Promise<unknown[]> {
    const { side = 'head', offset = 0, limit = Infinity } = optionsIn(options, GET_LIST_OPTIONS);
    const from = wordIn(SIDES, side, 'side');
    const first = BigInt(wholeNumberIn(offset, 'offset', OFFSET));
    if (limit !== Infinity) wholeNumberIn(limit, 'limit', LIMIT);
    return this.degrading.read<unknown[]>('a list could not be read', [], options, async () => {
      const items: unknown[] = [];
      let seen = 0;
      let next: bigint | undefined = first;
      while (next !== undefined && seen < limit) {
        const request = GetListRequest.fromPartial({
          key,
          side: from,
          offset: next,
          limit: Math.min(PAGE, limit - seen),
        });
        const page = await this.rpc.getList(request, options);
        for (const item of page.items) this.keep(item, items);
        seen += page.items.length;
        next = page.nextOffset;
      }
      return items;
    });
  }

  private encoded(values: readonly unknown[], field: string): Buffer[] {
    return listIn(values, field).map((value) => this.format.encodePlain(value));
  }

  /** One that another codec wrote is left out, and said. */
  private keep(bytes: Buffer, values: unknown[]): void {
    const decoded = this.format.decodePlain(bytes);
    if (decoded.isKnown) values.push(decoded.value);
    else this.degrading.say('warn', 'a member cannot be read', new TypeError(decoded.why));
  }
}

function capOf(cap: number | undefined, field: string): number | undefined {
  return cap === undefined ? undefined : wholeNumberIn(cap, field, CAP);
}
