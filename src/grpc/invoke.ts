import type { Logger } from 'pino';
import { DomainError, invalidField } from '../errors.js';
import type { CallContext } from './call-context.js';
import type { Rpc } from './rpc.js';
import { CallEndedError, toStatus, type RpcStatus } from './status.js';

export type Outcome =
  { readonly ok: true; readonly payload: Buffer } | { readonly ok: false; readonly status: RpcStatus };

/** Charges a call to the rate policies of its RPC; throws RATE_LIMITED. Undefined where the RPC has none. */
export type RateGate = (rpc: string, request: unknown, context: CallContext) => Promise<void> | undefined;

export interface InvokerOptions {
  readonly rateGate: RateGate;
  readonly maxInFlight: number;
  readonly logger: Logger;
}

const OVERLOAD_RETRY_MS = 100;

/**
 * The one way in. Every transport brings a call here, and it goes through admission → decoding → validation → the RPC's
 * rate policy → handler → error mapping → log, within the call's deadline. Validation comes before the rate policy: a
 * wrong request writes nothing, and the policy's subjects are fields of the request.
 */
export class Invoker {
  private inFlight = 0;
  private draining = false;

  constructor(private readonly options: InvokerOptions) {}

  /** From now on calls answer DRAINING; those in flight go on. */
  drain(): void {
    this.draining = true;
  }

  async invoke(rpc: Rpc, payload: Buffer, context: CallContext): Promise<Outcome> {
    try {
      return { ok: true, payload: await withinDeadline(this.work(rpc, payload, context), context) };
    } catch (error) {
      const status = toStatus(error);
      if (status.hiddenCause !== undefined) {
        this.options.logger.error({ rpc: rpc.name, err: status.hiddenCause }, 'rpc failed');
      } else {
        this.options.logger.debug({ rpc: rpc.name, code: status.code, reason: status.message }, 'rpc refused');
      }
      return { ok: false, status };
    } finally {
      context.end('answered');
    }
  }

  /** Counts as in flight until it is done, which may be after the caller got DEADLINE_EXCEEDED. */
  private async work(rpc: Rpc, payload: Buffer, context: CallContext): Promise<Buffer> {
    if (performance.now() >= context.deadlineAt) throw new CallEndedError('deadline');
    if (this.draining) {
      throw new DomainError('DRAINING', 'the service is going away; the call was not started', { retryAfterMs: 0 });
    }
    if (this.inFlight >= this.options.maxInFlight) {
      throw new DomainError('OVERLOADED', 'too many calls in flight', { retryAfterMs: OVERLOAD_RETRY_MS });
    }
    this.inFlight++;
    try {
      const request = decode(rpc, payload);
      rpc.check(request);
      await this.options.rateGate(rpc.name, request, context);
      return rpc.encode(await rpc.handle(request, context));
    } finally {
      this.inFlight--;
    }
  }
}

function decode(rpc: Rpc, payload: Buffer): unknown {
  try {
    return rpc.decode(payload);
  } catch {
    throw invalidField('', 'the message cannot be decoded');
  }
}

/** Races work against the call's deadline and cancellation. Work that loses goes on unheard. */
function withinDeadline<Result>(work: Promise<Result>, context: CallContext): Promise<Result> {
  return new Promise((resolve, reject) => {
    const remainingMs = Math.max(0, context.deadlineAt - performance.now());
    const timer = setTimeout(() => {
      context.end('deadline');
    }, remainingMs);
    context.whenEnded((reason) => {
      clearTimeout(timer);
      if (reason !== 'answered') reject(new CallEndedError(reason));
    });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}
