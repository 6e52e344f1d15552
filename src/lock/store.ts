import { Buffer } from 'node:buffer';
import { createHash, randomBytes, randomFillSync } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { DomainError } from '../errors.js';
import type { Call, ParkableCall } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import type { AcquireOutcome, AcquireRequest, ExtendOutcome, Grant, LockBackend, OwnershipOutcome } from './backend.js';
import { sortResources } from './fields.js';
import {
  acquireLockScript,
  extendLockScript,
  getLockScript,
  giveBackLockScript,
  releaseLockScript,
  type AcquireReply,
  type FoundLost,
  type GrantedReply,
  type LockStateReply,
  type RefusedReply,
} from './scripts.js';
import type { LockStats } from './stats.js';
import { callOfItsOwn, Waiter, Waiting } from './waiting.js';
import { isOutcomeUnknown, untilBack } from './until-back.js';
import type { WakeChannels } from './wake-channels.js';

export interface LockStoreOptions {
  readonly redis: Redis;
  readonly wakes: WakeChannels;
  readonly stats: LockStats;
  /** How long the fencing token of a resource is remembered after its last lease. */
  readonly fenceRetentionMs: number;
}

/** Who keeps a lock, where it is not the caller. It is told of its loss where this process is told of the lock. */
export interface Keeper {
  readonly stream: string;
  /** How long the lock is closed when it gets lost. */
  readonly delayMs: number;
}

/** 192 random bits, 32 characters of base64url. */
const TOKEN_BYTES = 24;
/** Random bytes are taken from the system for so many tokens at once: for each it costs as much as the rest of a token. */
const TOKENS_AT_ONCE = 128;
/** What is left of the call's deadline for its answer. */
const ANSWER_MARGIN_MS = 50;
const MAX_LISTED = '100';

/** Locks on the `state` Redis. What is done to one resource is one script, atomic. */
export class LockStore implements LockBackend {
  private readonly redis: Redis;
  private readonly wakes: WakeChannels;
  private readonly waiting: Waiting;
  private readonly stats: LockStats;
  private readonly fenceRetentionMs: string;
  private readonly random = Buffer.alloc(TOKEN_BYTES * TOKENS_AT_ONCE);
  private randomUsed = this.random.length;
  private calls = 0;
  private readonly instance = randomBytes(6).toString('base64url');

  constructor({ redis, wakes, stats, fenceRetentionMs }: LockStoreOptions) {
    this.redis = redis;
    this.wakes = wakes;
    this.stats = stats;
    this.waiting = new Waiting(redis, stats, { fenceRetentionMs });
    this.fenceRetentionMs = String(fenceRetentionMs);
  }

  async acquireLock(request: AcquireRequest, call: ParkableCall, keeper?: Keeper): Promise<AcquireOutcome> {
    const lockToken = request.requestId === '' ? this.newToken() : tokenOfRequest(request.requestId);
    const startedAt = performance.now();
    const giveUpAt = Math.min(startedAt + request.waitMs, call.deadlineAt - ANSWER_MARGIN_MS);
    const isParked = request.waitMs > 0 && !this.waiting.isDraining && call.park();
    try {
      const [only] = request.resources;
      const attempt: Attempt = { request, lockToken, giveUpAt, isParked, call, keeper, hasWaited: false };
      const outcome =
        request.resources.length === 1 && only !== undefined
          ? await this.acquireOne(only, attempt)
          : await this.acquireAll(attempt);
      if (!call.ended)
        this.stats.of(call.namespace).answered(outcome, attempt.hasWaited ? performance.now() - startedAt : undefined);
      return outcome;
    } finally {
      if (isParked) call.unpark();
    }
  }

  async releaseLock(resources: readonly string[], lockToken: string, call: Call): Promise<OwnershipOutcome> {
    const held = await Promise.all(resources.map((resource) => this.release(resource, lockToken, call)));
    return { notHeld: resources.filter((_, index) => held[index] === undefined) };
  }

  async extendLock(resources: readonly string[], lockToken: string, ttlMs: number, call: Call): Promise<ExtendOutcome> {
    const ends = await Promise.all(resources.map((resource) => this.extend(resource, lockToken, ttlMs, call)));
    const known = ends.filter((end) => end !== undefined);
    return {
      notHeld: resources.filter((_, index) => ends[index] === undefined),
      expiresAtMs: known.length === 0 ? undefined : Math.min(...known),
    };
  }

  getLock(resource: string, call: Call): Promise<LockStateReply> {
    const lock = keys.lock(call.namespace, resource);
    return this.redis.run(getLockScript.bind({ lock }, { maxListed: MAX_LISTED }), call);
  }

  /** Lets go of everybody who waits, and lets nobody wait. */
  drain(): void {
    this.waiting.drain();
  }

  private async acquireOne(resource: string, attempt: Attempt): Promise<AcquireOutcome> {
    const { lockToken, call } = attempt;
    const reply = await this.take(resource, attempt, attempt.request.ttlMs).catch((error: unknown) => {
      this.giveBackUnknown(resource, attempt, error);
      throw error;
    });
    if (reply.status !== 'granted') return { ...reply, resource };
    if (call.ended) this.giveBack(resource, lockToken, call.namespace);
    return { ...reply, lockToken, grants: [toGrant(resource, reply)] };
  }

  /** One after the other in the order of their names; where one is not granted, those before it are given back. */
  private async acquireAll(attempt: Attempt): Promise<AcquireOutcome> {
    const { request, lockToken, giveUpAt, call } = attempt;
    const { namespace } = call;
    const grants = new Map<string, Grant>();
    const takeBack = (): void => {
      for (const resource of grants.keys()) this.giveBack(resource, lockToken, namespace);
    };
    let expiresAtMs = Number.POSITIVE_INFINITY;
    let asked = '';
    const startedAt = performance.now();
    try {
      for (const resource of sortResources(request.resources)) {
        // it has to last until the last one is granted
        const spareMs = attempt.isParked ? Math.max(0, Math.ceil(giveUpAt - performance.now())) : 0;
        asked = resource;
        const reply = await this.take(resource, attempt, Math.min(request.ttlMs + spareMs, MAX_TTL_MS));
        if (reply.status !== 'granted') {
          takeBack();
          return { ...reply, resource };
        }
        grants.set(resource, toGrant(resource, reply));
        expiresAtMs = Math.min(expiresAtMs, reply.expiresAtMs);
      }
      if (attempt.keeper !== undefined) {
        // not sooner: a try that is refused leaves those that an earlier one has to whom keeps them
        expiresAtMs = await this.takeOver(grants, attempt);
      } else if (attempt.isParked || performance.now() - startedAt >= request.ttlMs) {
        const outcome = await this.extendLock([...grants.keys()], lockToken, request.ttlMs, call);
        if (outcome.notHeld.length > 0) throw ranOut(startedAt);
        expiresAtMs = outcome.expiresAtMs ?? expiresAtMs;
      }
    } catch (error) {
      takeBack();
      if (!grants.has(asked)) this.giveBackUnknown(asked, attempt, error);
      throw error;
    }
    if (call.ended) takeBack();
    return {
      status: 'granted',
      lockToken,
      grants: request.resources.flatMap((resource) => grants.get(resource) ?? []),
      expiresAtMs,
    };
  }

  /** Makes the stream the keeper of all that was granted, with whole leases; answers when the first one ends. */
  private async takeOver(grants: ReadonlyMap<string, Grant>, attempt: Attempt): Promise<number> {
    const { namespace } = attempt.call;
    const startedAt = performance.now();
    const ends = [...grants].map(async ([resource, { fencingToken }]) => {
      const lock = keys.lock(namespace, resource);
      const terms = {
        ttlMs: attempt.request.ttlMs,
        waitMs: 0,
        channel: this.wakes.nameOf(namespace, lock),
        callId: '',
      };
      const reply = await this.tryTake(lock, attempt, { ...terms, takesOver: 'answered before' });
      // one that ran out may have been granted anew, with another token than its caller would be told
      if (reply.status !== 'granted' || reply.fencingToken !== fencingToken) throw ranOut(startedAt);
      return reply.expiresAtMs;
    });
    return Math.min(...(await Promise.all(ends)));
  }

  /** Takes one resource, waiting for it where that is asked for and possible. */
  private async take(resource: string, attempt: Attempt, ttlMs: number): Promise<GrantedReply | RefusedReply> {
    const { lockToken, giveUpAt, isParked, call, keeper } = attempt;
    const lock = keys.lock(call.namespace, resource);
    const callId = `${this.instance}${String(this.calls++)}`;
    const counts = this.stats.of(call.namespace);
    let isContended = false;
    let waiter: Waiter | undefined;
    try {
      if (isParked && this.wakes.isHeard(call.namespace)) {
        waiter = new Waiter(this.wakes, lock, lockToken, callId, giveUpAt, call);
      }
      for (;;) {
        const waitMs = waiter?.channel.isHeard === true && !this.waiting.isDraining ? waiter.leftMs : 0;
        const isTold = waiter !== undefined || keeper !== undefined;
        const channel = isTold ? this.wakes.nameOf(call.namespace, lock) : '';
        const takesOver = attempt.request.resources.length === 1 ? 'at once' : 'not';
        const reply = await this.tryTake(lock, attempt, { ttlMs, waitMs, channel, callId, takesOver });
        if (reply.lost !== undefined) counts.lost(reply.lost);
        if (reply.status === 'granted') return reply;
        if (reply.status === 'upgrade') {
          throw new DomainError('LOCK_UPGRADE', 'the owner holds fewer permits than it asks for once more');
        }
        if (!isContended) counts.contended(resource);
        isContended = true;
        attempt.hasWaited ||= isParked;
        if (reply.status === 'waiting') {
          if (waiter === undefined) throw new RangeError('nobody asked for a place in the queue');
          const outcome = await this.waiting.wait(waiter, { ...reply, ttlMs });
          if (outcome.status !== 'gone') return outcome;
          continue;
        }
        if (!isParked || this.waiting.isDraining) return reply;
        // held by another, and not to be waited for before it can be told when it is free
        waiter ??= new Waiter(this.wakes, lock, lockToken, callId, giveUpAt, call);
        if (waiter.leftMs === 0) return reply;
        if (!waiter.channel.isHeard) await waiter.untilWoken();
        if (waiter.leftMs === 0) return reply;
      }
    } finally {
      waiter?.close();
    }
  }

  private tryTake(
    lock: string,
    { request, lockToken, call, keeper }: Attempt,
    { ttlMs, waitMs, channel, callId, takesOver }: TakeTerms,
  ): Promise<AcquireReply & FoundLost> {
    return this.redis.run(
      acquireLockScript.bind(
        { lock },
        {
          lockToken,
          ttlMs: String(ttlMs),
          owner: request.owner,
          permits: String(request.permits),
          capacity: String(request.capacity),
          reentrant: request.reentrant ? '1' : '0',
          hasRequest: request.requestId === '' ? '0' : '1',
          waitMs: String(waitMs),
          channel,
          call: callId,
          stream: keeper?.stream ?? '',
          delayMs: String(keeper?.delayMs ?? 0),
          takesOver: TAKES_OVER[takesOver],
          fenceRetentionMs: this.fenceRetentionMs,
        },
      ),
      call,
    );
  }

  /** How long it was held, in ms; undefined: the token does not hold it. */
  private async release(resource: string, lockToken: string, call: Call): Promise<number | undefined> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    const { heldMs, lost } = await this.redis.run(
      releaseLockScript.bind({ lock }, { lockToken, fenceRetentionMs }),
      call,
    );
    const counts = this.stats.of(call.namespace);
    if (heldMs !== undefined) counts.released(heldMs);
    if (lost !== undefined) counts.lost(lost);
    return heldMs;
  }

  private extend(resource: string, lockToken: string, ttlMs: number, call: Call): Promise<number | undefined> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    return this.redis.run(extendLockScript.bind({ lock }, { lockToken, ttlMs: String(ttlMs), fenceRetentionMs }), call);
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
  private giveBack(resource: string, lockToken: string, namespace: string): void {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(namespace, resource);
    const bound = giveBackLockScript.bind({ lock }, { lockToken, fenceRetentionMs });
    void untilBack(() => this.redis.run(bound, callOfItsOwn(namespace)));
  }

  /** A grant whose answer was lost: with a request id its caller may ask again, without one nobody has its token. */
  private giveBackUnknown(resource: string, { request, lockToken, call }: Attempt, error: unknown): void {
    if (request.requestId === '' && isOutcomeUnknown(error)) this.giveBack(resource, lockToken, call.namespace);
  }
}

/** One call that takes one lock, or several as one. */
interface Attempt {
  readonly request: AcquireRequest;
  readonly lockToken: string;
  /** On the clock of `performance.now()`. */
  readonly giveUpAt: number;
  /** Whether it may wait. */
  readonly isParked: boolean;
  readonly call: ParkableCall;
  readonly keeper: Keeper | undefined;
  /** Whether it found a resource taken, and waited. */
  hasWaited: boolean;
}

const MAX_TTL_MS = 3_600_000;

/** What becomes of a grant that an earlier try of the request has. */
const TAKES_OVER = { not: '0', 'at once': '1', 'answered before': '2' } as const;

interface TakeTerms {
  readonly ttlMs: number;
  readonly waitMs: number;
  readonly channel: string;
  readonly callId: string;
  readonly takesOver: keyof typeof TAKES_OVER;
}

function ranOut(startedAt: number): DomainError {
  return new DomainError('OUTCOME_UNKNOWN', 'a lease ran out before all were granted', {
    retryAfterMs: Math.ceil(performance.now() - startedAt),
  });
}

function toGrant(resource: string, { fencingToken, holdCount }: GrantedReply): Grant {
  return { resource, fencingToken, holdCount };
}

/** Every try of one request has the same token, so that it finds the grant or the place of an earlier one. */
export function tokenOfRequest(requestId: string): string {
  return createHash('sha256').update('lock\0').update(requestId).digest().toString('base64url', 0, TOKEN_BYTES);
}
