import { Buffer } from 'node:buffer';
import { randomFillSync } from 'node:crypto';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import {
  acquireLockScript,
  extendLockScript,
  getLockScript,
  giveBackLockScript,
  releaseLockScript,
  type AcquireReply,
  type ExtendReply,
  type LockState,
} from './scripts.js';

export interface LockStoreOptions {
  /** How long the fencing token of a resource is remembered after its last lease. */
  readonly fenceRetentionMs: number;
}

export interface AcquireOptions {
  readonly ttlMs: number;
  /** For people; decides nothing. */
  readonly owner: string;
  /** While a grant lives, the same id is answered that grant. Empty: none. */
  readonly requestId: string;
}

/** 192 random bits, 32 characters of base64url. */
const TOKEN_BYTES = 24;
/** Random bytes are taken from the system for so many tokens at once: for each it costs as much as the rest of a token. */
const TOKENS_AT_ONCE = 128;

/** How long a grant that nobody waits for is tried to be given back; after that its lease ends it. */
const GIVE_BACK_MS = 5_000;

/** Exclusive leases on the `state` Redis. Every method is one script, atomic a resource. */
export class LockStore {
  private readonly fenceRetentionMs: string;
  private readonly random = Buffer.alloc(TOKEN_BYTES * TOKENS_AT_ONCE);
  private randomUsed = this.random.length;

  constructor(
    private readonly redis: Redis,
    { fenceRetentionMs }: LockStoreOptions,
  ) {
    this.fenceRetentionMs = String(fenceRetentionMs);
  }

  /** Does not wait. A grant that comes after the call ended is given back. */
  async acquireLock(resource: string, options: AcquireOptions, call: Call): Promise<AcquireReply> {
    const { ttlMs, owner, requestId } = options;
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    const lockToken = this.newToken();
    const reply = await this.redis.run(
      acquireLockScript.bind({ lock }, { lockToken, ttlMs: String(ttlMs), owner, requestId, fenceRetentionMs }),
      call,
    );
    if (reply.status === 'granted' && call.ended) this.giveBack(lock, reply.lockToken, call.namespace);
    return reply;
  }

  /** Answers whether the token held the lock; if not, nothing changed. */
  releaseLock(resource: string, lockToken: string, call: Call): Promise<boolean> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    return this.redis.run(releaseLockScript.bind({ lock }, { lockToken, fenceRetentionMs }), call);
  }

  /** The lease ends `ttlMs` from now, which may be earlier than before. */
  extendLock(resource: string, lockToken: string, ttlMs: number, call: Call): Promise<ExtendReply> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    return this.redis.run(extendLockScript.bind({ lock }, { lockToken, ttlMs: String(ttlMs), fenceRetentionMs }), call);
  }

  getLock(resource: string, call: Call): Promise<LockState> {
    return this.redis.run(getLockScript.bind({ lock: keys.lock(call.namespace, resource) }, {}), call);
  }

  private newToken(): string {
    if (this.randomUsed === this.random.length) {
      randomFillSync(this.random);
      this.randomUsed = 0;
    }
    const from = this.randomUsed;
    this.randomUsed += TOKEN_BYTES;
    return this.random.toString('base64url', from, this.randomUsed);
  }

  /** On a call of its own, because the one that was granted has ended and may not ask Redis any more. */
  private giveBack(lock: string, lockToken: string, namespace: string): void {
    const { fenceRetentionMs } = this;
    const call: Call = { namespace, deadlineAt: performance.now() + GIVE_BACK_MS, ended: false };
    // nobody is left to tell of a failure: Redis's own log has it, and the lease ends by itself
    this.redis.run(giveBackLockScript.bind({ lock }, { lockToken, fenceRetentionMs }), call).catch(() => undefined);
  }
}
