import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { invalidField } from '../../errors.js';
import type { Call, ParkableCall } from '../../redis/call.js';
import { keys } from '../../redis/keys.js';
import type { Readiness } from '../../redis/readiness.js';
import type {
  AcquireOutcome,
  AcquireRequest,
  ExtendOutcome,
  Holder,
  LockBackend,
  LockState,
  OwnershipOutcome,
  Refused,
} from '../backend.js';
import { lockMode } from '../lock-mode.js';
import { defaultNodeTimeoutMs, driftOf, majorityOf, MIN_TTL_MS, outcomeUnknown, tooFew } from '../masters/majority.js';
import { Pauses } from '../masters/pauses.js';
import { poll, type Poll } from '../masters/poll.js';
import { tryUntilGranted, type Obstacle } from '../masters/tries.js';
import { tokenOfRequest } from '../store.js';
import type { QuorumCounts } from './counts.js';
import type { Voter } from './master.js';
import { byHolder, Round, type HeldBy, type RoundLost, type RoundTerms, type RoundWon } from './round.js';
import { extendVoteScript, getVoteScript, releaseVoteScript, type VoteState } from './scripts.js';

export interface QuorumSettings {
  /** The longest lease, 100 to 3,600,000 ms. The same in all services of a quorum. */
  readonly maxTtlMs: number;
  /** How long a step waits for silent masters; undefined: 50 ms, or a twentieth of the lease where that is less. */
  readonly nodeTimeoutMs: number | undefined;
  /** How far the clocks of this machine and of a master may be apart. The same in all services of a quorum. */
  readonly maxSkewMs: number;
}

export interface QuorumLocksOptions extends QuorumSettings {
  /** An odd number of them, at least 3. */
  readonly masters: readonly Voter[];
  readonly counts: QuorumCounts;
  /** The namespace whose marker says which masters vote. */
  readonly namespace: string;
  readonly fenceRetentionMs: number;
}

/** 192 random bits, 32 characters of base64url. */
const TOKEN_BYTES = 24;
const US_A_MS = 1_000;

/** Locks on a majority of independent masters: one exclusive resource a call, whoever waits is granted in no order. */
export class QuorumLocks implements LockBackend, Readiness {
  private readonly masters: readonly Voter[];
  private readonly majority: number;
  private readonly pauses = new Pauses();
  private readonly listeners: ((ready: boolean) => void)[] = [];
  private readonly fenceRetentionMs: number;
  /** The highest fencing token heard of. */
  private lastToken = 0;
  private wasReady = false;

  constructor(private readonly options: QuorumLocksOptions) {
    this.masters = options.masters;
    this.majority = majorityOf(this.masters.length);
    // what a master forgets must be older than what any later proposal can be
    this.fenceRetentionMs = Math.max(options.fenceRetentionMs, 2 * options.maxSkewMs + 1);
    for (const master of this.masters) {
      master.onStateChange(() => {
        if (this.isReady === this.wasReady) return;
        this.wasReady = this.isReady;
        for (const listener of this.listeners) listener(this.wasReady);
      });
    }
  }

  /** Whether a majority of the masters votes. */
  get isReady(): boolean {
    return this.masters.filter(({ isReady }) => isReady).length >= this.majority;
  }

  onStateChange(listener: (ready: boolean) => void): void {
    this.listeners.push(listener);
  }

  async acquireLock(request: AcquireRequest, call: ParkableCall): Promise<AcquireOutcome> {
    const resource = onlyResource(request.resources);
    if (request.permits !== 0) throw lockMode('permits');
    if (request.reentrant) throw lockMode('reentrant');
    this.checkTtl(request.ttlMs);
    const lockToken =
      request.requestId === '' ? randomBytes(TOKEN_BYTES).toString('base64url') : tokenOfRequest(request.requestId);
    const outcome = await tryUntilGranted(
      () => {
        this.checkMajority();
        return this.tryAcquire(resource, request, lockToken, call);
      },
      obstacleOf,
      { waitMs: request.waitMs, call, pauses: this.pauses },
    );
    return outcome.status === 'granted' ? this.granted(resource, lockToken, outcome, call) : refused(resource, outcome);
  }

  async releaseLock(resources: readonly string[], lockToken: string, call: Call): Promise<OwnershipOutcome> {
    const resource = onlyResource(resources);
    const fenceRetentionMs = String(this.fenceRetentionMs);
    const bound = releaseVoteScript.bind(
      { lock: keys.lock(call.namespace, resource) },
      { lockToken, fenceRetentionMs },
    );
    const isHeld = (had: boolean): boolean => had;
    const result = await this.ask(bound, call, isHeld, this.nodeTimeoutMs());
    return { notHeld: this.hasMajority(result, isHeld) ? [] : [resource] };
  }

  async extendLock(resources: readonly string[], lockToken: string, ttlMs: number, call: Call): Promise<ExtendOutcome> {
    const resource = onlyResource(resources);
    this.checkTtl(ttlMs);
    const startedAt = performance.now();
    const bound = extendVoteScript.bind(this.keysOf(resource, call), {
      lockToken,
      ttlMs: String(ttlMs),
      fenceRetentionMs: String(this.fenceRetentionMs),
    });
    const isExtended = (untilMs: number | undefined): boolean => untilMs !== undefined;
    const result = await this.ask(bound, call, isExtended, this.nodeTimeoutMs(ttlMs));
    if (!this.hasMajority(result, isExtended)) return { notHeld: [resource], expiresAtMs: undefined };
    const driftMs = driftOf(ttlMs);
    if (performance.now() >= startedAt + ttlMs - driftMs) throw outcomeUnknown('the lease ran out meanwhile');
    const ends = result.replies.filter((untilMs) => untilMs !== undefined);
    return { notHeld: [], expiresAtMs: Math.floor(Math.min(...ends) - driftMs) };
  }

  async getLock(resource: string, call: Call): Promise<LockState> {
    const bound = getVoteScript.bind(this.keysOf(resource, call), {});
    const { replies, errors } = await poll(this.masters, bound, {
      call,
      timeoutMs: this.nodeTimeoutMs(),
      isCertain: (soFar) => (heldBy(soFar.replies)?.votes ?? 0) >= this.majority,
    });
    const known = replies.filter((reply) => reply.status !== 'amnesia');
    if (known.length < this.majority) throw tooFew(errors);
    const unknownCount = this.masters.length - known.length;
    const first = heldBy(known);
    // a silent master may have voted for it, too: then it is not shown as free
    const isHeld = first !== undefined && first.votes + unknownCount >= this.majority;
    const holders = isHeld ? [toHolder(first, this.majority)] : [];
    return {
      holders,
      holderCount: holders.length,
      waiters: [],
      waitingCount: 0,
      fence: highestGranted(known, this.majority - unknownCount),
      delayLeftMs: 0,
    };
  }

  /** Lets go of everybody who waits, and lets nobody wait. */
  drain(): void {
    this.pauses.drain();
  }

  private async tryAcquire(
    resource: string,
    { ttlMs, owner }: AcquireRequest,
    lockToken: string,
    call: Call,
  ): Promise<RoundWon | RoundLost> {
    const { maxSkewMs, counts } = this.options;
    const leftMs = Math.max(1, call.deadlineAt - performance.now());
    const clockUs = Date.now() * US_A_MS;
    const maxSkewUs = maxSkewMs * US_A_MS;
    // masters refuse a proposal far from their clocks, and go up from their fence in any case
    const proposal = Math.max(clockUs, Math.min(this.lastToken + 1, clockUs + Math.floor(maxSkewUs / 2)));
    const terms: RoundTerms = {
      ...this.keysOf(resource, call),
      lockToken,
      owner,
      ttlMs,
      proposal,
      maxSkewUs,
      fenceRetentionMs: this.fenceRetentionMs,
      nodeTimeoutMs: Math.min(this.nodeTimeoutMs(ttlMs), leftMs),
    };
    const outcome = await new Round(this.masters, terms, counts, call.namespace).run();
    this.lastToken = Math.max(this.lastToken, outcome.status === 'granted' ? outcome.fencingToken : outcome.lastToken);
    return outcome;
  }

  private granted(resource: string, lockToken: string, won: RoundWon, call: Call): AcquireOutcome {
    if (call.ended) won.giveBack();
    const { fencingToken, expiresAtMs } = won;
    return { status: 'granted', lockToken, grants: [{ resource, fencingToken, holdCount: 1 }], expiresAtMs };
  }

  /** Asks all masters whether they do something, until a majority did or cannot any more. */
  private ask<Reply>(
    bound: Parameters<typeof poll<Reply>>[1],
    call: Call,
    isYes: (reply: Reply) => boolean,
    timeoutMs: number,
  ): Promise<Poll<Reply>> {
    return poll(this.masters, bound, {
      call,
      timeoutMs,
      isCertain: ({ replies, unknownCount }) => {
        const yes = replies.filter(isYes).length;
        return yes >= this.majority || yes + unknownCount < this.majority;
      },
    });
  }

  /** Whether a majority said yes; throws where that is not known. */
  private hasMajority<Reply>(
    { replies, unknownCount, errors }: Poll<Reply>,
    isYes: (reply: Reply) => boolean,
  ): boolean {
    const yes = replies.filter(isYes).length;
    if (yes >= this.majority) return true;
    if (yes + unknownCount < this.majority) return false;
    if (this.masters.every(({ isConnected }) => !isConnected)) throw tooFew(errors);
    throw outcomeUnknown('too few masters answered in time; some may have done it', errors[0]);
  }

  private keysOf(resource: string, call: Call): { readonly lock: string; readonly marker: string } {
    return { lock: keys.lock(call.namespace, resource), marker: keys.quorumMarker(this.options.namespace) };
  }

  private nodeTimeoutMs(ttlMs?: number): number {
    return this.options.nodeTimeoutMs ?? defaultNodeTimeoutMs(ttlMs);
  }

  private checkMajority(): void {
    // those in quarantine are asked too: they may have been let in meanwhile
    if (this.masters.filter(({ isConnected }) => isConnected).length < this.majority) throw tooFew([]);
  }

  private checkTtl(ttlMs: number): void {
    const { maxTtlMs } = this.options;
    if (ttlMs >= MIN_TTL_MS && ttlMs <= maxTtlMs) return;
    throw invalidField('ttl_ms', `must be ${String(MIN_TTL_MS)} to ${String(maxTtlMs)} in the quorum mode`);
  }
}

function onlyResource(resources: readonly string[]): string {
  const [resource] = resources;
  if (resource === undefined || resources.length > 1) throw lockMode('several resources');
  return resource;
}

function obstacleOf(outcome: RoundWon | RoundLost): Obstacle | undefined {
  if (outcome.status === 'granted') return undefined;
  const leftMs = Math.max(0, ...(outcome.holders[0]?.replies.map((reply) => reply.leftMs) ?? []));
  return { kind: outcome.status === 'held' ? 'held' : 'split', leftMs };
}

function heldBy(replies: readonly VoteState[]): HeldBy | undefined {
  return byHolder(replies.filter((reply) => reply.status === 'held'))[0];
}

/** The answer to a call that waits no more. Throws where nobody is known to hold the lock. */
function refused(resource: string, { holders, errors }: RoundLost): Refused {
  const [first] = holders;
  if (first === undefined) throw tooFew(errors);
  const holder = toHolder(first, first.votes);
  return { status: 'held', resource, holder, waitingCount: 0, delayLeftMs: 0 };
}

/** Of several votes for one holder, what a majority says. */
function toHolder({ replies }: HeldBy, majority: number): Holder {
  const [first] = replies;
  if (first === undefined) throw new RangeError('nobody says so');
  const byEnd = [...replies].sort((one, other) => other.leftMs - one.leftMs);
  const last = byEnd[Math.min(majority, byEnd.length) - 1] ?? first;
  return {
    owner: first.owner,
    fencingToken: Math.max(...replies.map(({ fence }) => fence)),
    acquiredAtMs: Math.min(...replies.map(({ sinceMs }) => sinceMs)),
    expiresAtMs: last.untilMs,
    ttlMs: last.leftMs,
    permits: 0,
  };
}

/**
 * The highest fencing token that can have been granted: each one is the fence of a majority, so of `count` masters among
 * those that are known. A higher fence of fewer comes from a try that failed.
 */
function highestGranted(known: readonly VoteState[], count: number): number {
  const fences = known.flatMap((reply) => (reply.status === 'amnesia' ? [] : [reply.fence]));
  return fences.sort((one, other) => other - one)[Math.max(1, count) - 1] ?? 0;
}
