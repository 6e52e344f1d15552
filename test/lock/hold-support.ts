import {
  AcquireLockRequest,
  AcquireLockStatus,
  HoldLocksAcquire,
  LockServiceService,
  type AcquireLockResponse,
  type HoldLocksResponse,
  type HoldLocksRenewed,
  type LockLost,
  type ReleaseLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import { type TestChannel } from '../support/client.js';
import { openStream, type TestStream } from '../support/stream-client.js';

export interface HoldRequest extends Partial<AcquireLockRequest> {
  readonly graceMs?: number;
  readonly delayMs?: number;
  readonly callerRenews?: boolean;
}

const LEASE_MS = 60_000n;

/** A HoldLocks stream as a game server has it. */
export class Hold {
  readonly stream: TestStream<never, HoldLocksResponse>;
  private ids = 0n;

  constructor(channel: TestChannel) {
    this.stream = openStream(channel, LockServiceService.holdLocks);
  }

  /** Sends a request without waiting for its answer; answers its id. */
  ask(request: HoldRequest, id = ++this.ids): bigint {
    const { graceMs = 0, delayMs = 0, callerRenews = false, ...lock } = request;
    const value: HoldLocksAcquire = {
      lock: AcquireLockRequest.fromPartial({ ttlMs: LEASE_MS, ...lock }),
      disconnectGraceMs: BigInt(graceMs),
      lockDelayMs: BigInt(delayMs),
      callerRenews,
    };
    this.stream.send({ id, action: { $case: 'acquire', value } } as never);
    return id;
  }

  async acquire(request: HoldRequest): Promise<AcquireLockResponse> {
    const { event } = await this.answer(this.ask(request));
    if (event?.$case !== 'acquired') throw new Error('no answer to acquire');
    return event.value;
  }

  /** Acquires, and fails where that is not granted. */
  async take(resource: string, request: HoldRequest = {}): Promise<AcquireLockResponse> {
    const answer = await this.acquire({ resources: [resource], ...request });
    if (answer.status !== AcquireLockStatus.GRANTED) throw new Error(`not granted but ${String(answer.status)}`);
    return answer;
  }

  async release(resources: string[], lockToken: string): Promise<ReleaseLockResponse> {
    const id = ++this.ids;
    this.stream.send({ id, action: { $case: 'release', value: { resources, lockToken } } } as never);
    const { event } = await this.answer(id);
    if (event?.$case !== 'released') throw new Error('no answer to release');
    return event.value;
  }

  async renew(lockToken: string): Promise<HoldLocksRenewed> {
    const id = ++this.ids;
    this.stream.send({ id, action: { $case: 'renew', value: { lockToken } } } as never);
    const { event } = await this.answer(id);
    if (event?.$case !== 'renewed') throw new Error('no answer to renew');
    return event.value;
  }

  /** Gives an acquire up. */
  cancel(id: bigint): void {
    this.stream.send({ id, action: { $case: 'cancel', value: {} } } as never);
  }

  /** What was told to be lost so far. */
  get losses(): readonly LockLost[] {
    return this.stream.messages.flatMap(({ event }) => (event?.$case === 'lost' ? [event.value] : []));
  }

  /** Waits for the n-th loss, from 1. */
  async loss(count = 1): Promise<LockLost> {
    for (let messages = 1; ; messages++) {
      await this.stream.untilMessages(messages);
      const lost = this.losses[count - 1];
      if (lost !== undefined) return lost;
    }
  }

  async answer(id: bigint): Promise<HoldLocksResponse> {
    for (let messages = 1; ; messages++) {
      await this.stream.untilMessages(messages);
      const answer = this.stream.messages.find((message) => message.id === id);
      if (answer !== undefined) return answer;
    }
  }
}
