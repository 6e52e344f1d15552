import { Metadata } from '@grpc/grpc-js';
import { expect } from '@jest/globals';
import {
  AcquireLockRequest,
  AcquireLockResponse,
  AcquireLockStatus,
  LockServiceService,
  type GetLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import type { TestService } from '../support/service.js';

export const HOUR_MS = 3_600_000n;
export const LONG_MS = 60_000n;

/** Takes locks in one service, as most tests do. */
export class LockUser {
  constructor(readonly service: TestService) {}

  acquire(resource: string, request: Partial<AcquireLockRequest> = {}): Promise<AcquireLockResponse> {
    // without a deadline of its own a call has the service's, which is shorter than most waits
    const options = { deadline: Date.now() + Number(LONG_MS) };
    return this.service.locks.acquireLock({ resources: [resource], ttlMs: LONG_MS, ...request }, options);
  }

  async granted(resource: string, request: Partial<AcquireLockRequest> = {}): Promise<AcquireLockResponse> {
    const answer = await this.acquire(resource, request);
    expect(answer.status).toBe(AcquireLockStatus.GRANTED);
    return answer;
  }

  release(resource: string, { lockToken }: Pick<AcquireLockResponse, 'lockToken'>): Promise<unknown> {
    return this.service.locks.releaseLock({ resources: [resource], lockToken });
  }

  look(resource: string): Promise<GetLockResponse> {
    return this.service.locks.getLock({ resource });
  }

  async untilWaiting(resource: string, count: number): Promise<void> {
    await until(async () => (await this.look(resource)).waitingCount === BigInt(count));
  }

  async untilFree(resource: string): Promise<void> {
    await until(async () => (await this.look(resource)).holderCount === 0n);
  }
}

export function fenceOf({ grants }: AcquireLockResponse): bigint {
  return grants[0]?.fencingToken ?? 0n;
}

/** An AcquireLock that its caller can give up. */
export function openAcquire(
  { channel }: TestService,
  request: Partial<AcquireLockRequest>,
): { readonly answer: Promise<AcquireLockResponse>; cancel(): void } {
  const { path } = LockServiceService.acquireLock;
  const bytes = Buffer.from(AcquireLockRequest.encode({ ...AcquireLockRequest.create(), ...request }).finish());
  const identity = (message: Buffer): Buffer => message;
  let cancel: () => void = () => undefined;
  const answer = new Promise<AcquireLockResponse>((resolve, reject) => {
    const call = channel.client.makeUnaryRequest(path, identity, identity, bytes, new Metadata(), (error, reply) => {
      if (error === null) resolve(AcquireLockResponse.decode(reply ?? Buffer.alloc(0)));
      else reject(error);
    });
    cancel = () => {
      call.cancel();
    };
  });
  return { answer, cancel };
}
