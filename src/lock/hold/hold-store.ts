import { keys } from '../../redis/keys.js';
import type { Redis } from '../../redis/redis.js';
import { callOfItsOwn } from '../waiting.js';
import { detachLockScript, renewLockScript, type RenewReply } from './scripts.js';

/** One resource as a stream keeps it. */
export interface StreamLease {
  readonly namespace: string;
  readonly resource: string;
  readonly lockToken: string;
  /** Names the stream among those of all processes. */
  readonly stream: string;
}

/** How a stream lets go of a lock. `clean`: it is released; else its holder got lost, and has the grace to come back. */
export type LetGo = { readonly clean: true } | { readonly clean: false; readonly graceMs: number };

/** What the service does by itself for the locks of streams: no caller's call is behind it. */
export class HoldStore {
  private readonly fenceRetentionMs: string;

  constructor(
    private readonly redis: Redis,
    { fenceRetentionMs }: { readonly fenceRetentionMs: number },
  ) {
    this.fenceRetentionMs = String(fenceRetentionMs);
  }

  /** The lease ends `ttlMs` from now at the earliest, if the stream keeps it yet. */
  renew({ namespace, resource, lockToken, stream }: StreamLease, ttlMs: number): Promise<RenewReply> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(namespace, resource);
    return this.redis.run(
      renewLockScript.bind({ lock }, { lockToken, stream, ttlMs: String(ttlMs), fenceRetentionMs }),
      callOfItsOwn(namespace),
    );
  }

  /** Answers false where the stream did not keep it (any more): nothing changed. */
  detach({ namespace, resource, lockToken, stream }: StreamLease, how: LetGo): Promise<boolean> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(namespace, resource);
    const isClean = how.clean ? '1' : '0';
    const graceMs = String(how.clean ? 0 : how.graceMs);
    return this.redis.run(
      detachLockScript.bind({ lock }, { lockToken, stream, isClean, graceMs, fenceRetentionMs }),
      callOfItsOwn(namespace),
    );
  }
}
