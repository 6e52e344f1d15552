import { performance } from 'node:perf_hooks';
import { status as Code, type Metadata, type Client, type ClientUnaryCall, type ServiceError } from '@grpc/grpc-js';
import { errorOfStatus, outcomeUnknown, type ShardkeepError, shardkeepError } from '../errors.js';
import { isOfConnection, wasNeverSent } from './lost-call.js';
import type { ClientMethod } from './method.js';

/** Between attempts; the first follows at once, because the connection to the service that drains is left by then. */
const RESEND_BASE_MS = 25;
const RESEND_MAX_MS = 1_000;

export interface UnaryCallOptions {
  /** What the call carries, as the credential. */
  readonly metadata: () => Metadata;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** One call as a unary RPC. A service that drains has not started it, so it is sent again until its time is over. */
export class UnaryCall {
  private readonly deadlineAt: number;
  private attempt: ClientUnaryCall | undefined;
  private resendTimer: NodeJS.Timeout | undefined;
  private refusals = 0;

  constructor(
    private readonly client: Client,
    private readonly method: ClientMethod,
    private readonly payload: Buffer,
    private readonly options: UnaryCallOptions,
    private readonly resolve: (response: unknown) => void,
    private readonly reject: (error: ShardkeepError) => void,
  ) {
    this.deadlineAt = performance.now() + options.timeoutMs;
    options.signal?.addEventListener('abort', this.cancel, { once: true });
  }

  send(): void {
    this.resendTimer = undefined;
    const { method } = this;
    this.attempt = this.client.makeUnaryRequest<Buffer, unknown>(
      `/${method.name}`,
      identity,
      (bytes) => method.decode(bytes, 0, bytes.length),
      this.payload,
      this.options.metadata(),
      { deadline: Date.now() + this.deadlineAt - performance.now() },
      (error, response) => {
        if (error !== null) {
          this.failed(this.isLost(error) ? outcomeUnknown(error.details) : errorOfStatus(error));
          return;
        }
        this.forgetSignal();
        this.resolve(response);
      },
    );
  }

  /** Whether the connection broke under the call. */
  private isLost(error: ServiceError): boolean {
    return isOfConnection(error) && !wasNeverSent(this.attempt, this.client);
  }

  private failed(error: ShardkeepError): void {
    if (error.reason === 'DRAINING') {
      const delayMs = resendDelayMs(this.refusals++);
      if (performance.now() + delayMs < this.deadlineAt) {
        this.resendTimer = setTimeout(() => {
          this.send();
        }, delayMs);
        return;
      }
    }
    this.forgetSignal();
    this.reject(error);
  }

  private readonly cancel = (): void => {
    if (this.resendTimer === undefined) {
      const { attempt } = this;
      // grpc-js does not reset a call that is cancelled in the turn in which it began, and the service would go on with it
      process.nextTick(() => attempt?.cancel());
      return;
    }
    clearTimeout(this.resendTimer);
    this.reject(shardkeepError(Code.CANCELLED, 'cancelled; the call was not started'));
  };

  private forgetSignal(): void {
    this.options.signal?.removeEventListener('abort', this.cancel);
  }
}

function resendDelayMs(refusals: number): number {
  if (refusals === 0) return 0;
  const ceiling = Math.min(RESEND_BASE_MS * 2 ** refusals, RESEND_MAX_MS);
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}
