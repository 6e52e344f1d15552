import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { invalidField } from '../../errors.js';
import type { Call, ParkableCall } from '../../redis/call.js';
import { wrongType } from '../../redis/errors.js';
import { keys, shareSlot } from '../../redis/keys.js';
import type { BoundScript } from '../../redis/lua-script.js';
import type { Readiness } from '../../redis/readiness.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  ExtendOutcome,
  Holder,
  LockBackend,
  LockState,
  OwnershipOutcome,
} from '../backend.js';
import { lockMode } from '../lock-mode.js';
import { defaultNodeTimeoutMs, driftOf, majorityOf, MIN_TTL_MS, outcomeUnknown, tooFew } from '../masters/majority.js';
import { Pauses } from '../masters/pauses.js';
import { poll, type Poll } from '../masters/poll.js';
import { tryUntilGranted, type Obstacle } from '../masters/tries.js';
import { tokenOfRequest } from '../store.js';
import type { RedlockNode } from './redlock-node.js';
import { mostVotes, Round, type RoundLost, type RoundWon } from './round.js';
import {
  extendRedlockScript,
  getRedlockScript,
  releaseRedlockScript,
  type HadReply,
  type HeldReply,
} from './scripts.js';

export interface RedlockSettings {
  /** What every key begins with; may be empty. */
  readonly prefix: string;
  /** How long a step waits for silent masters; undefined: 50 ms, or a twentieth of the lease where that is less. */
  readonly nodeTimeoutMs: number | undefined;
}

export interface RedlockLocksOptions extends RedlockSettings {
  /** One, or an odd number of masters that know nothing of each other. */
  readonly nodes: readonly RedlockNode[];
}

/** 192 random bits, 32 characters of base64url. */
const TOKEN_BYTES = 24;

/**
 * Locks that processes share which use npm `redlock` on the same nodes: the same keys, held by a random text, on a majority.
 * Exclusive; several resources are taken in one step on each node, all or none. No fencing tokens: a grant of redlock
 * raises no fence, so a holder that pauses could not be told from the one after it.
 */
export class RedlockLocks implements LockBackend, Readiness {
  private readonly nodes: readonly RedlockNode[];
  private readonly majority: number;
  private readonly pauses = new Pauses();
  private readonly listeners: ((ready: boolean) => void)[] = [];
  private wasReady = false;

  constructor(private readonly options: RedlockLocksOptions) {
    this.nodes = options.nodes;
    this.majority = majorityOf(this.nodes.length);
    for (const node of this.nodes) {
      node.onStateChange(() => {
        if (this.isReady === this.wasReady) return;
        this.wasReady = this.isReady;
        for (const listener of this.listeners) listener(this.wasReady);
      });
    }
  }

  /** Whether a majority of the nodes answers. */
  get isReady(): boolean {
    return this.nodes.filter(({ isReady }) => isReady).length >= this.majority;
  }

  onStateChange(listener: (ready: boolean) => void): void {
    this.listeners.push(listener);
  }

  async acquireLock(request: AcquireRequest, call: ParkableCall): Promise<AcquireOutcome> {
    const { resources, requestId, ttlMs, waitMs } = request;
    if (request.permits !== 0) throw lockMode('permits');
    if (request.reentrant) throw lockMode('reentrant');
    this.checkTtl(ttlMs);
    const locks = this.keysOf(resources, call);
    const lockToken = requestId === '' ? randomBytes(TOKEN_BYTES).toString('base64url') : tokenOfRequest(requestId);
    const terms = { locks, lockToken, hasRequest: requestId !== '', ttlMs, timeoutMs: this.timeoutMs(ttlMs) };
    const outcome = await tryUntilGranted(() => this.tryOnce(terms, call), obstacleOf, {
      waitMs,
      call,
      pauses: this.pauses,
    });
    if (outcome.status === 'granted') {
      if (call.ended) outcome.giveBack();
      const grants = resources.map((resource) => ({ resource, fencingToken: 0, holdCount: 1 }));
      return { status: 'granted', lockToken, grants, expiresAtMs: outcome.expiresAtMs };
    }
    const { holder, errors } = outcome;
    if (holder === undefined) throw tooFew(errors);
    const resource = resources[holder.index];
    if (resource === undefined) throw new RangeError('nobody asked for that key');
    return { status: 'held', resource, holder: toHolder(holder), waitingCount: 0, delayLeftMs: 0 };
  }

  async releaseLock(resources: readonly string[], lockToken: string, call: Call): Promise<OwnershipOutcome> {
    const bound = releaseRedlockScript.bind({ '...locks': this.keysOf(resources, call) }, { lockToken });
    const result = await this.ask(bound, (had) => had, resources.length, this.timeoutMs(), call);
    return { notHeld: this.notHeld(resources, result, (had) => had) };
  }

  async extendLock(resources: readonly string[], lockToken: string, ttlMs: number, call: Call): Promise<ExtendOutcome> {
    this.checkTtl(ttlMs);
    const startedAt = performance.now();
    const bound = extendRedlockScript.bind(
      { '...locks': this.keysOf(resources, call) },
      { lockToken, ttlMs: String(ttlMs) },
    );
    const result = await this.ask(bound, ({ had }) => had, resources.length, this.timeoutMs(ttlMs), call);
    const notHeld = this.notHeld(resources, result, ({ had }) => had);
    if (notHeld.length === resources.length) return { notHeld, expiresAtMs: undefined };
    const driftMs = this.nodes.length === 1 ? 0 : driftOf(ttlMs);
    if (this.nodes.length > 1 && performance.now() >= startedAt + ttlMs - driftMs) {
      throw outcomeUnknown('the lease ran out meanwhile');
    }
    const untilMs = Math.min(...result.replies.filter(({ had }) => had.includes(true)).map((reply) => reply.untilMs));
    return { notHeld, expiresAtMs: Math.floor(untilMs - driftMs) };
  }

  async getLock(resource: string, call: Call): Promise<LockState> {
    const [lock = ''] = this.keysOf([resource], call);
    const { replies, errors } = await poll(this.nodes, getRedlockScript.bind({ lock }, {}), {
      call,
      timeoutMs: this.timeoutMs(),
      isCertain: (soFar) => mostVotes(soFar.replies.filter(isHeld)).votes >= this.majority,
    });
    if (replies.length < this.majority) throw tooFew(errors);
    if (replies.some(({ status }) => status === 'foreign')) throw wrongType();
    const { holder, votes } = mostVotes(replies.filter(isHeld));
    // a silent node may have it for the same holder: then it is not shown as free
    const mayHold = votes + this.nodes.length - replies.length >= this.majority;
    const holders = holder !== undefined && mayHold ? [toHolder(holder)] : [];
    return {
      holders,
      holderCount: holders.length,
      waiters: [],
      waitingCount: 0,
      fence: undefined,
      delayLeftMs: 0,
    };
  }

  /** Lets go of everybody who waits, and lets nobody wait. */
  drain(): void {
    this.pauses.drain();
  }

  private async tryOnce(terms: ConstructorParameters<typeof Round>[1], call: Call): Promise<RoundWon | RoundLost> {
    if (this.nodes.length > 1 && !this.isReady) throw tooFew([]);
    const outcome = await new Round(this.nodes, terms, call).run();
    if (outcome.status === 'foreign') throw wrongType();
    if (outcome.status === 'split' && this.nodes.length === 1) throw this.failure(outcome.errors);
    return outcome;
  }

  /** Asks all nodes which of the locks the token has, until that is certain of each. */
  private ask<Reply>(
    bound: BoundScript<Reply>,
    hadOf: (reply: Reply) => HadReply,
    lockCount: number,
    timeoutMs: number,
    call: Call,
  ): Promise<Poll<Reply>> {
    const indexes = Array.from({ length: lockCount }, (_, index) => index);
    return poll(this.nodes, bound, {
      call,
      timeoutMs,
      isCertain: (soFar) => indexes.every((index) => this.wasHeld(index, soFar, hadOf) !== undefined),
    });
  }

  /** The resources that no majority says the token has; throws where that is not known. */
  private notHeld<Reply>(
    resources: readonly string[],
    result: Poll<Reply>,
    hadOf: (reply: Reply) => HadReply,
  ): readonly string[] {
    return resources.filter((_, index) => {
      const held = this.wasHeld(index, result, hadOf);
      if (held === undefined) throw this.failure(result.errors);
      return !held;
    });
  }

  private wasHeld<Reply>(
    index: number,
    { replies, unknownCount }: Poll<Reply>,
    hadOf: (reply: Reply) => HadReply,
  ): boolean | undefined {
    const votes = replies.filter((reply) => hadOf(reply)[index]).length;
    if (votes >= this.majority) return true;
    return votes + unknownCount < this.majority ? false : undefined;
  }

  /** What to throw where too few nodes answered. */
  private failure(errors: readonly unknown[]): unknown {
    if (this.nodes.length === 1 && errors.length === 1) return errors[0];
    if (errors.length > 0 && this.nodes.every(({ isReady }) => !isReady)) return tooFew(errors);
    return outcomeUnknown('too few masters answered in time; some may have done it', errors[0]);
  }

  private keysOf(resources: readonly string[], { namespace }: Call): readonly string[] {
    const locks = resources.map((resource) => {
      const key = keys.redlock(namespace, this.options.prefix, resource);
      if (key === undefined) throw invalidField('resources', 'a key of this service, or of another namespace of one');
      return key;
    });
    if (this.nodes.some(({ topology }) => topology === 'cluster') && !shareSlot(locks)) {
      throw lockMode('resources of different slots of a Cluster');
    }
    return locks;
  }

  /** One node is waited for as long as the call lasts. */
  private timeoutMs(ttlMs?: number): number {
    if (this.nodes.length === 1) return Number.POSITIVE_INFINITY;
    return this.options.nodeTimeoutMs ?? defaultNodeTimeoutMs(ttlMs);
  }

  private checkTtl(ttlMs: number): void {
    if (this.nodes.length === 1 || ttlMs >= MIN_TTL_MS) return;
    throw invalidField('ttl_ms', `must be at least ${String(MIN_TTL_MS)} where locks live on several masters`);
  }
}

function isHeld(reply: { readonly status: string }): reply is HeldReply {
  return reply.status === 'held';
}

function obstacleOf(outcome: RoundWon | RoundLost): Obstacle | undefined {
  if (outcome.status === 'granted') return undefined;
  return { kind: outcome.status === 'held' ? 'held' : 'split', leftMs: outcome.holder?.leftMs ?? 0 };
}

/** All that is known of who has a key. */
function toHolder({ untilMs, leftMs }: HeldReply): Holder {
  return { owner: '', fencingToken: 0, acquiredAtMs: 0, expiresAtMs: untilMs, ttlMs: leftMs, permits: 0 };
}
