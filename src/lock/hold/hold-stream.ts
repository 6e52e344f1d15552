import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError, invalidField } from '../../errors.js';
import type { DeadlineWheel } from '../../wire/deadline-wheel.js';
import type { AcquireOutcome, AcquireRequest, Granted, OwnershipOutcome } from '../backend.js';
import { tokenOfRequest, type LockStore } from '../store.js';
import type { WakeChannels } from '../wake-channels.js';
import { HoldCall } from './hold-call.js';
import { KeptLease, type Loss } from './kept-lease.js';
import type { HoldStore } from './hold-store.js';

export interface AcquireAction {
  readonly kind: 'acquire';
  readonly request: AcquireRequest;
  readonly graceMs: number;
  readonly delayMs: number;
  readonly callerRenews: boolean;
}

export interface ReleaseAction {
  readonly kind: 'release';
  readonly resources: readonly string[];
  readonly lockToken: string;
}

export interface RenewAction {
  readonly kind: 'renew';
  readonly lockToken: string;
}

export type HoldAction = AcquireAction | ReleaseAction | RenewAction;

export interface LostLock extends Loss {
  readonly kind: 'lost';
  readonly lockToken: string;
  readonly resources: string[];
}

/** What a stream is told. */
export type HoldEvent =
  | { readonly kind: 'acquired'; readonly id: bigint; readonly outcome: AcquireOutcome }
  | { readonly kind: 'released'; readonly id: bigint; readonly outcome: OwnershipOutcome }
  | { readonly kind: 'renewed'; readonly id: bigint; readonly isHeld: boolean }
  /** An acquire was given up. */
  | { readonly kind: 'cancelled'; readonly id: bigint }
  | { readonly kind: 'failed'; readonly id: bigint; readonly error: DomainError }
  | LostLock;

export interface HoldStreamOptions {
  readonly namespace: string;
  readonly locks: LockStore;
  readonly holds: HoldStore;
  readonly wakes: WakeChannels;
  readonly wheel: DeadlineWheel;
}

/** Requests that have no answer yet, or one that the caller has not taken. */
const MAX_IN_FLIGHT = 1_024;
/** Resources that are kept or asked for. */
const MAX_RESOURCES = 4_096;
/** How long a request is tried again while Redis is away, behind its own wait. */
const PATIENCE_MS = 5_000;
/** How long the end of a stream waits for its locks; what is left is done behind it. */
const SETTLE_MS = 1_500;

/** One HoldLocks stream: the locks that it keeps, the requests under way, and what its caller has not been told yet. */
export class HoldStream {
  private readonly id = randomBytes(12).toString('base64url');
  /** By token, then by resource. */
  private readonly kept = new Map<string, Map<string, KeptLease>>();
  private resourceCount = 0;
  private readonly inFlight = new Set<bigint>();
  /** Of the requests that ask Redis as a call, by their ids. */
  private readonly calls = new Map<bigint, HoldCall>();
  private readonly requests = new Set<Promise<void>>();
  private readonly lettingGo = new Set<Promise<void>>();
  private readonly events: HoldEvent[] = [];
  private failure: unknown;
  private isOver = false;
  private isClosing = false;
  private wake: () => void = () => undefined;

  constructor(private readonly options: HoldStreamOptions) {}

  /** Throws INVALID_FIELD for an id that is under way, OVERLOADED where that is too much. */
  start(id: bigint, action: HoldAction): void {
    if (this.isOver) return;
    if (this.inFlight.has(id)) throw invalidField('id', 'must not be that of a request that is not answered yet');
    if (this.inFlight.size >= MAX_IN_FLIGHT) throw new DomainError('OVERLOADED', 'too many requests under way');
    this.inFlight.add(id);
    track(this.answer(id, action), this.requests);
  }

  /** Gives an acquire up that is not answered yet. */
  cancel(id: bigint): void {
    const call = this.calls.get(id);
    if (call?.isAcquire === true) call.end();
  }

  /** Waits for something to tell; undefined when the stream is over. Throws what it ended with. */
  async next(): Promise<HoldEvent | undefined> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure as Error;
      const event = this.events.shift();
      if (event !== undefined) {
        if (event.kind !== 'lost') this.inFlight.delete(event.id);
        return event;
      }
      if (this.isOver) return undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** The caller asks nothing more: answers what is under way, without waiting for others, and releases all. */
  async close(): Promise<void> {
    this.isClosing = true;
    for (const call of this.calls.values()) if (call.waits) call.end();
    await Promise.all(this.requests);
    this.letGoOfAll('released');
    await this.settled();
    if (this.lettingGo.size > 0) {
      this.fail(new DomainError('OUTCOME_UNKNOWN', 'Redis is away; the locks may not be released yet'));
    }
    this.finish();
  }

  /** The caller is gone: its locks are kept for their grace. Does nothing when the stream is over. */
  break(): void {
    if (this.isOver) return;
    for (const call of this.calls.values()) call.end();
    this.letGoOfAll('lost');
    this.events.length = 0;
    this.finish();
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (this.isOver) return;
    this.failure = error;
    this.break();
  }

  /** Resolves when the stream has let go of its locks, or could not for some time. */
  async settled(): Promise<void> {
    const timer = new AbortController();
    const patience = sleep(SETTLE_MS, undefined, { ref: false, signal: timer.signal });
    await Promise.race([this.idle(), patience]);
    timer.abort();
    await patience.catch(() => undefined);
  }

  private async idle(): Promise<void> {
    while (this.requests.size + this.lettingGo.size > 0) await Promise.all([...this.requests, ...this.lettingGo]);
  }

  private answer(id: bigint, action: HoldAction): Promise<void> {
    switch (action.kind) {
      case 'acquire':
        return this.acquire(id, action);
      case 'release':
        return this.release(id, action);
      case 'renew':
        return this.renew(id, action);
    }
  }

  private async acquire(id: bigint, { request, graceMs, delayMs, callerRenews }: AcquireAction): Promise<void> {
    // with a request id another try finds what an earlier one was granted; a caller without one never sees it
    const requestId = request.requestId === '' ? randomBytes(24).toString('base64url') : request.requestId;
    const lockToken = tokenOfRequest(requestId);
    const leases = request.resources.map((resource) => this.askFor(resource, lockToken));
    const keep = ({ grants }: Pick<Granted, 'grants'>): void => {
      const tokens = new Map(grants.map(({ resource, fencingToken }) => [resource, fencingToken]));
      for (const lease of leases) {
        const fencingToken = tokens.get(lease.lease.resource) ?? 0;
        lease.keep({ ttlMs: request.ttlMs, graceMs, fencingToken, callerRenews });
      }
    };
    const giveUpAt = performance.now() + request.waitMs;
    const call = new HoldCall(this.options.namespace, giveUpAt + PATIENCE_MS, {
      isAcquire: true,
      waits: request.waitMs > 0,
    });
    this.calls.set(id, call);
    // the end of the stream ends calls too, and has its own way with what they are granted
    const isCancelled = (): boolean => call.ended && !this.isOver && !this.isClosing;
    let tries = 0;
    try {
      this.checkSize();
      const outcome = await this.insist(call, () => {
        tries++;
        const waitMs = this.isClosing ? 0 : Math.max(0, Math.ceil(giveUpAt - performance.now()));
        const keeper = { stream: this.id, delayMs };
        return this.options.locks.acquireLock({ ...request, requestId, waitMs }, call, keeper);
      });
      if (isCancelled()) {
        // the store gives back what is granted to a call that has ended
        this.tell({ kind: 'cancelled', id });
        return;
      }
      if (outcome.status === 'granted') keep(outcome);
      this.tell({ kind: 'acquired', id, outcome });
    } catch (error) {
      tries++;
      if (isCancelled()) this.tell({ kind: 'cancelled', id });
      else if (this.isClosing && call.ended) this.inFlight.delete(id);
      else this.tellFailed(id, error);
    } finally {
      this.calls.delete(id);
      for (const lease of leases) this.asked(lease, { isUnsure: tries > 1, ttlMs: request.ttlMs });
    }
  }

  private async release(id: bigint, { resources, lockToken }: ReleaseAction): Promise<void> {
    const ofToken = this.kept.get(lockToken);
    const leases = resources.flatMap((resource) => ofToken?.get(resource) ?? []).filter(({ isKept }) => isKept);
    const { namespace, locks } = this.options;
    const call = new HoldCall(namespace, performance.now() + PATIENCE_MS, { isAcquire: false, waits: false });
    this.calls.set(id, call);
    for (const lease of leases) lease.pause();
    try {
      const outcome = await this.insist(call, () => locks.releaseLock(resources, lockToken, call));
      for (const lease of leases) if (lease.isReleasing) this.forget(lease);
      this.tell({ kind: 'released', id, outcome });
    } catch (error) {
      for (const lease of leases) this.letGo(lease, 'released');
      this.tellFailed(id, error);
    } finally {
      this.calls.delete(id);
    }
  }

  private async renew(id: bigint, { lockToken }: RenewAction): Promise<void> {
    const leases = [...(this.kept.get(lockToken)?.values() ?? [])].filter(({ isKept }) => isKept);
    try {
      const held = await Promise.all(leases.map((lease) => lease.extend()));
      this.tell({ kind: 'renewed', id, isHeld: held.length > 0 && held.every(Boolean) });
    } catch (error) {
      this.tellFailed(id, error);
    }
  }

  /** Tries again while Redis is away. */
  private async insist<Outcome>(call: HoldCall, attempt: () => Promise<Outcome>): Promise<Outcome> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        const retryAfterMs = error instanceof DomainError ? error.retryAfterMs : undefined;
        const isLate = performance.now() + (retryAfterMs ?? 0) >= call.deadlineAt;
        if (retryAfterMs === undefined || isLate || call.ended) throw error;
        await sleep(retryAfterMs, undefined, { ref: false });
      }
    }
  }

  /** The lease of a resource, which hears what becomes of it before it can be granted. */
  private askFor(resource: string, lockToken: string): KeptLease {
    const { namespace, holds: store, wakes, wheel } = this.options;
    const ofToken = this.kept.get(lockToken) ?? new Map<string, KeptLease>();
    this.kept.set(lockToken, ofToken);
    let lease = ofToken.get(resource);
    if (lease === undefined) {
      const onEnd = (ended: KeptLease, loss: Loss | undefined): void => {
        if (ended.askers === 0) this.forget(ended);
        if (loss !== undefined) this.tellLost(ended, loss);
      };
      lease = new KeptLease({ namespace, resource, lockToken, stream: this.id }, { store, wakes, wheel, onEnd });
      ofToken.set(resource, lease);
      this.resourceCount++;
    }
    lease.askers++;
    return lease;
  }

  /** A request that asked for a lease has its answer. */
  private asked(lease: KeptLease, { isUnsure, ttlMs }: { readonly isUnsure: boolean; readonly ttlMs: number }): void {
    lease.askers--;
    if (lease.askers > 0) return;
    if (lease.isKept) {
      if (this.isOver) this.letGo(lease, 'lost');
      return;
    }
    // one of several tries may have been granted it
    if (isUnsure) lease.keep({ ttlMs, graceMs: 0, fencingToken: 0, callerRenews: false });
    this.letGo(lease, 'released');
  }

  private checkSize(): void {
    if (this.resourceCount > MAX_RESOURCES) throw new DomainError('OVERLOADED', 'a stream cannot keep that many locks');
  }

  private letGoOfAll(how: 'released' | 'lost'): void {
    const leases = [...this.kept.values()].flatMap((ofToken) => [...ofToken.values()]);
    for (const lease of leases) if (lease.askers === 0) this.letGo(lease, how);
  }

  private letGo(lease: KeptLease, how: 'released' | 'lost'): void {
    const released = lease.letGo(how);
    this.forget(lease);
    track(released, this.lettingGo);
  }

  private forget(lease: KeptLease): void {
    lease.stop();
    const { resource, lockToken } = lease.lease;
    const ofToken = this.kept.get(lockToken);
    if (ofToken?.get(resource) !== lease) return;
    ofToken.delete(resource);
    this.resourceCount--;
    if (ofToken.size === 0) this.kept.delete(lockToken);
  }

  private tellLost({ lease: { lockToken, resource } }: KeptLease, loss: Loss): void {
    const last = this.events.at(-1);
    const isSame = last?.kind === 'lost' && last.lockToken === lockToken && last.reason === loss.reason;
    if (isSame && last.message === loss.message) last.resources.push(resource);
    else this.tell({ kind: 'lost', ...loss, lockToken, resources: [resource] });
  }

  /** Of what is no error of the domain the caller may know nothing: it ends the stream. */
  private tellFailed(id: bigint, error: unknown): void {
    if (error instanceof DomainError) this.tell({ kind: 'failed', id, error });
    else this.fail(error);
  }

  private tell(event: HoldEvent): void {
    if (this.isOver) return;
    this.events.push(event);
    this.wake();
  }

  private finish(): void {
    this.isOver = true;
    this.wake();
  }
}

/** Keeps a promise that never rejects as long as it is pending. */
function track(work: Promise<void>, among: Set<Promise<void>>): void {
  among.add(work);
  void work.then(() => among.delete(work));
}
