import { setTimeout as sleep } from 'node:timers/promises';
import {
  HoldLocksResponse,
  LockLostReason,
  LockOwnershipStatus,
  type AcquireLockRequest,
  type HoldLocksAcquire,
  type HoldLocksCancel,
  type HoldLocksRequest,
  type LockServiceService,
} from '../gen/shardkeep/lock/v1/lock.js';
import type { Implementation, StreamContext } from '../grpc/rpc.js';
import { anything, integer, message, oneOf, optional, required, type Rules } from '../grpc/rules.js';
import { CallEndedError, codeOf, toStatus } from '../grpc/status.js';
import * as fields from './fields.js';
import type { HoldAction, HoldEvent, HoldStream } from './hold/hold-stream.js';
import type { LossReason } from './hold/kept-lease.js';

export interface HoldHandlerOptions {
  readonly openHoldStream: (namespace: string) => HoldStream;
}

const MAX_ID = 2n ** 63n - 1n;
/** Renewed each third of it, which must leave time for an answer. */
const MIN_TTL_MS = 500n;
const MAX_TTL_MS = 3_600_000n;
const MAX_APART_MS = 60_000n;
/** HTTP/2 clients send the end of a cancelled stream and its reset one after the other, in packets of their own. */
const CANCEL_FOLLOWS_MS = 50;

const lockRules: Rules<AcquireLockRequest> = {
  ...fields.acquireRules,
  ttlMs: optional(integer({ min: MIN_TTL_MS, max: MAX_TTL_MS })),
};
const apartMs = integer({ min: 0n, max: MAX_APART_MS });
const acquire = message<HoldLocksAcquire>({
  lock: required(message(lockRules)),
  disconnectGraceMs: apartMs,
  lockDelayMs: apartMs,
  callerRenews: anything,
});
const release = message({ resources: fields.resources, lockToken: fields.lockToken });
const renew = message({ lockToken: fields.lockToken });
const cancel = message<HoldLocksCancel>({});

export function holdRpcs({
  openHoldStream,
}: HoldHandlerOptions): Pick<Implementation<typeof LockServiceService>, 'holdLocks'> {
  return {
    holdLocks: {
      rules: {
        id: integer({ min: 1n, max: MAX_ID }),
        action: oneOf({ acquire, release, renew, cancel }, { required: true }),
      },
      check: ({ action }) => {
        if (action?.$case === 'acquire' && action.value.lock !== undefined) {
          fields.checkTerms(action.value.lock, 'acquire.lock.');
        }
      },
      onDrain: 'end',
      holds: true,
      handle: (requests, call) => hold(openHoldStream(call.principal.namespace), requests, call),
    },
  };
}

async function* hold(
  stream: HoldStream,
  requests: AsyncIterable<HoldLocksRequest>,
  call: StreamContext,
): AsyncGenerator<HoldLocksResponse, void> {
  // whoever waits for the next event would not hear of the end
  call.whenEnded(() => {
    stream.break();
  });
  void read(stream, requests, call);
  try {
    for (;;) {
      const event = await stream.next();
      if (event === undefined) return;
      yield toResponse(event);
    }
  } finally {
    stream.break();
    await stream.settled();
  }
}

async function read(stream: HoldStream, requests: AsyncIterable<HoldLocksRequest>, call: StreamContext): Promise<void> {
  try {
    for await (const request of requests) {
      if (request.action?.$case === 'cancel') stream.cancel(request.id);
      const action = toAction(request);
      if (action !== undefined) stream.start(request.id, action);
    }
    // the requests of a stream that is cancelled end like those of one that its caller closes; that it is comes behind it
    await sleep(CANCEL_FOLLOWS_MS, undefined, { ref: false });
    if (!call.ended) await stream.close();
  } catch (error) {
    stream.fail(error);
  }
}

/** Undefined for what has no answer of its own, and for what the rules refuse. */
function toAction({ action }: HoldLocksRequest): HoldAction | undefined {
  switch (action?.$case) {
    case 'acquire':
      return toAcquire(action.value);
    case 'release':
      return { kind: 'release', ...action.value };
    case 'renew':
      return { kind: 'renew', ...action.value };
    case 'cancel':
    case undefined:
      return undefined;
  }
}

function toAcquire({ lock, disconnectGraceMs, lockDelayMs, callerRenews }: HoldLocksAcquire): HoldAction | undefined {
  if (lock === undefined) return undefined;
  return {
    kind: 'acquire',
    request: fields.toAcquireRequest(lock),
    graceMs: Number(disconnectGraceMs),
    delayMs: Number(lockDelayMs),
    callerRenews,
  };
}

const REASONS: Readonly<Record<LossReason, LockLostReason>> = {
  expired: LockLostReason.EXPIRED,
  force_released: LockLostReason.FORCE_RELEASED,
  released: LockLostReason.RELEASED,
};

function toResponse(event: HoldEvent): HoldLocksResponse {
  switch (event.kind) {
    case 'acquired':
      return { id: event.id, event: { $case: 'acquired', value: fields.toAcquireResponse(event.outcome) } };
    case 'released': {
      const { outcome } = event;
      const value = { status: fields.toOwnership(outcome), notHeldResources: [...outcome.notHeld] };
      return { id: event.id, event: { $case: 'released', value } };
    }
    case 'renewed': {
      const status = event.isHeld ? LockOwnershipStatus.DONE : LockOwnershipStatus.NOT_HOLDER;
      return { id: event.id, event: { $case: 'renewed', value: { status } } };
    }
    case 'cancelled': {
      const { code } = toStatus(new CallEndedError('cancelled'));
      return { id: event.id, event: { $case: 'failed', value: { code, reason: '', retryAfterMs: 0n } } };
    }
    case 'failed': {
      const { code, retryAfterMs } = event.error;
      const value = { code: codeOf(code), reason: code, retryAfterMs: BigInt(Math.ceil(retryAfterMs ?? 0)) };
      return { id: event.id, event: { $case: 'failed', value } };
    }
    case 'lost': {
      const { lockToken, resources, reason, message } = event;
      return { id: 0n, event: { $case: 'lost', value: { lockToken, resources, reason: REASONS[reason], message } } };
    }
  }
}
