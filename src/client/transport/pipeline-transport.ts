import { performance } from 'node:perf_hooks';
import { status as Code, type Client, type Metadata } from '@grpc/grpc-js';
import type { PipelineLimits } from '../../wire/answer-frame.js';
import { DeadlineWheel } from '../../wire/deadline-wheel.js';
import { CallQueue } from './call-queue.js';
import {
  errorOfDetails,
  errorOfStatus,
  notSent,
  outcomeUnknown,
  type ShardkeepError,
  shardkeepError,
} from '../errors.js';
import { failNextTurn } from '../event-loop.js';
import { noMessage, type CallOptions, type ClientMethod } from './method.js';
import { PendingCall, type CallOwner } from './pending-call.js';
import { PipelineStream, type ClosingStatus } from './pipeline-stream.js';
import { wholeTimeoutMs } from './timeout.js';
import type { Transport } from './transport.js';
import type { UnaryTransport } from './unary-transport.js';

/** Calls that wait for a stream, or for room on it; one more fails. */
const MAX_QUEUED = 16_384;
const BACKOFF_BASE_MS = 50;
const BACKOFF_MAX_MS = 2_000;

export interface PipelineTransportOptions {
  readonly defaultTimeoutMs: number;
  /** What each stream carries, as the credential. */
  readonly metadata: () => Metadata;
  /** For what the pipeline cannot take. */
  readonly unary: UnaryTransport;
  /** The service takes calls, at first or again. */
  readonly onOpen?: (() => void) | undefined;
}

/**
 * Calls over one stream of the pipeline. A stream that ends is opened again with back-off; while the service is away
 * calls fail at once, and those on a lost stream fail with OUTCOME_UNKNOWN. A service that drains has a successor: calls
 * wait for it. A service without the pipeline gets unary calls.
 */
export class PipelineTransport implements Transport, CallOwner {
  private readonly deadlines = new DeadlineWheel();
  /** Calls not sent yet: there is no stream, or it has as many in flight as it may. */
  private readonly queue = new CallQueue();
  /** All that are not over, also those that only wait for their last answers. */
  private readonly streams = new Set<PipelineStream>();
  /** Where calls go. */
  private stream: PipelineStream | undefined;
  /** Undefined until the service has accepted the stream. */
  private limits: PipelineLimits | undefined;
  private backoffTimer: NodeJS.Timeout | undefined;
  /** Streams in a row that were lost or left before they answered a call. */
  private failedAttempts = 0;
  /** Why the service is away, and calls fail at once. */
  private outage: (() => ShardkeepError) | undefined;
  private unaryOnly = false;
  /** Calls without an answer, sent or not. */
  private waiting = 0;
  private whenAnswered: (() => void) | undefined;
  private closed = false;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly client: Client,
    private readonly options: PipelineTransportOptions,
  ) {
    this.open();
  }

  call(method: ClientMethod, request: object, options: CallOptions): Promise<unknown> {
    if (this.closed) return failNextTurn(notSent('the client is closed'));
    if (this.unaryOnly) return this.options.unary.call(method, request, options);
    if (this.outage !== undefined) return failNextTurn(this.outage());
    if (options.signal?.aborted === true) return failNextTurn(shardkeepError(Code.CANCELLED, 'cancelled'));
    return new Promise((resolve, reject) => {
      const { timeoutMs = this.options.defaultTimeoutMs, signal } = options;
      const wholeMs = wholeTimeoutMs(timeoutMs);
      const call = new PendingCall(this, method, request, wholeMs, performance.now() + wholeMs, resolve, reject);
      this.waiting++;
      this.deadlines.add(call);
      if (signal !== undefined) this.obey(signal, call);
      this.begin(call);
    });
  }

  /** After an event loop that stood still the answer may be there, and not read yet: timers come before what was received. */
  expire(call: PendingCall): void {
    setImmediate(() => {
      if (call.settled) return;
      this.fail(call, shardkeepError(Code.DEADLINE_EXCEEDED, `no answer in time; ${fateOf(call)}`));
      call.stream?.cancel(call);
    });
  }

  /** For when the service is known to be back: does not wait for the end of the back-off. */
  retryNow(): void {
    if (this.backoffTimer === undefined || this.closed) return;
    clearTimeout(this.backoffTimer);
    this.backoffTimer = undefined;
    this.open();
  }

  close(): Promise<void> {
    this.closing ??= this.finish();
    return this.closing;
  }

  private async finish(): Promise<void> {
    this.closed = true;
    await new Promise<void>((resolve) => {
      if (this.waiting === 0) resolve();
      else this.whenAnswered = resolve;
    });
    clearTimeout(this.backoffTimer);
    for (const stream of this.streams) stream.end();
    await this.options.unary.close();
  }

  private begin(call: PendingCall): void {
    if (this.hasRoom && this.queue.size === 0) this.send(call);
    else if (this.queue.size < MAX_QUEUED) this.enqueue(call);
    else {
      setImmediate(() => {
        this.fail(call, shardkeepError(Code.RESOURCE_EXHAUSTED, 'too many calls wait for the service'));
      });
    }
  }

  private enqueue(call: PendingCall): void {
    this.queue.push(call);
    this.backoffTimer?.ref();
  }

  private get hasRoom(): boolean {
    return this.stream !== undefined && this.stream.callsInFlight < (this.limits?.maxCallsInFlight ?? 0);
  }

  private send(call: PendingCall): void {
    const { method, request } = call;
    try {
      const writer = method.requestWriter;
      const payload = writer === undefined ? method.encode(request) : undefined;
      const length = payload === undefined ? (writer?.length(request) ?? 0) : payload.length;
      if (length > (this.limits?.maxRequestBytes ?? 0)) this.sendUnary(call, payload);
      else this.stream?.send(call, payload, length);
    } catch (error) {
      this.fail(call, noMessage(method, error));
    }
  }

  /** `encoded` is the request where it is encoded already. */
  private sendUnary(call: PendingCall, encoded?: Buffer): void {
    let payload: Buffer;
    try {
      payload = encoded ?? call.method.encode(call.request);
    } catch (error) {
      this.fail(call, noMessage(call.method, error));
      return;
    }
    const timeoutMs = call.deadlineAt - performance.now();
    this.options.unary.send(call.method, payload, { timeoutMs, ...(call.signal && { signal: call.signal }) }).then(
      (response) => {
        this.succeed(call, response);
      },
      (error: unknown) => {
        this.fail(call, error as Error);
      },
    );
  }

  private sendQueued(): void {
    while (this.hasRoom) {
      const call = this.queue.shift();
      if (call === undefined) return;
      this.send(call);
    }
  }

  private open(): void {
    this.limits = undefined;
    this.outage = undefined;
    const stream = new PipelineStream(this.client, this.options.metadata(), {
      onOpen: (limits) => {
        if (this.stream !== stream) return;
        this.limits = limits;
        this.options.onOpen?.();
        this.sendQueued();
      },
      onAnswer: (call, ok, frame, from, to) => {
        this.answer(call, ok, frame, from, to);
        if (this.queue.size > 0) this.sendQueued();
      },
      onDraining: () => {
        this.leave(stream);
      },
      onClosed: (status, sent, unsent) => {
        const { code, details } = status;
        this.streams.delete(stream);
        const why = code === Code.OK ? 'the service ended the stream' : details;
        for (const call of sent) this.fail(call, outcomeUnknown(why));
        this.queue.unshift(unsent);
        if (this.stream === stream) this.reopen(status, why);
      },
    });
    this.stream = stream;
    this.streams.add(stream);
  }

  /** Its service goes away: what is not sent goes to another stream. */
  private leave(stream: PipelineStream): void {
    if (this.stream !== stream) return;
    this.stream = undefined;
    this.queue.unshift(stream.drain());
    if (!this.isNeeded) return;
    this.failedAttempts++;
    // one that answers is replaced by one that will; a proxy that keeps its connection greets again and again with `draining`
    if (this.failedAttempts === 1) this.open();
    else this.backOff();
  }

  /** A closed client only finishes what it has begun. */
  private get isNeeded(): boolean {
    return !this.closed || this.waiting > 0;
  }

  private reopen(status: ClosingStatus, details: string): void {
    this.stream = undefined;
    if (!this.isNeeded) return;
    if (status.code === Code.UNIMPLEMENTED) {
      this.unaryOnly = true;
      for (const call of this.queue.takeAll()) this.sendUnary(call);
      return;
    }
    this.failedAttempts++;
    if (this.limits !== undefined && this.failedAttempts === 1) {
      // it was up: its successor may be there already
      this.open();
      return;
    }
    this.outage = () => errorOfOutage(status, details);
    for (const call of this.queue.takeAll()) this.fail(call, this.outage());
    if (!this.closed) this.backOff();
  }

  private backOff(): void {
    const ceiling = Math.min(BACKOFF_BASE_MS * 2 ** (this.failedAttempts - 1), BACKOFF_MAX_MS);
    this.backoffTimer = setTimeout(
      () => {
        this.backoffTimer = undefined;
        this.open();
      },
      ceiling / 2 + Math.random() * (ceiling / 2),
    );
    // only calls that wait are a reason for the process to stay
    if (this.queue.size === 0) this.backoffTimer.unref();
  }

  private answer(call: PendingCall, ok: boolean, frame: Buffer, from: number, to: number): void {
    if (ok && call.stream === this.stream) this.failedAttempts = 0;
    if (call.settled) return;
    try {
      if (ok) {
        this.succeed(call, call.method.decode(frame, from, to));
        return;
      }
      const error = errorOfDetails(frame.subarray(from, to));
      // nor was one begun that came after the stream's credential ended: the next stream has the one of the moment
      if (error.reason === 'DRAINING' || error.reason === 'BAD_CREDENTIAL') {
        this.sendElsewhere(call, error);
        return;
      }
      if (call.stream === this.stream) this.failedAttempts = 0;
      this.fail(call, error);
    } catch {
      this.fail(call, shardkeepError(Code.INTERNAL, 'the answer cannot be decoded'));
    }
  }

  /** For a call that was not started, because its service drains. */
  private sendElsewhere(call: PendingCall, refusal: ShardkeepError): void {
    if (this.stream !== undefined && call.stream === this.stream) this.leave(this.stream);
    if (this.unaryOnly) this.sendUnary(call);
    else if (this.outage === undefined) this.begin(call);
    else this.fail(call, refusal);
  }

  private succeed(call: PendingCall, response: unknown): void {
    if (this.settle(call)) call.resolve(response);
  }

  private fail(call: PendingCall, error: Error): void {
    if (this.settle(call)) call.reject(error);
  }

  private settle(call: PendingCall): boolean {
    if (call.settled) return false;
    call.settled = true;
    if (call.queued) this.queue.remove(call);
    this.deadlines.remove(call);
    call.forgetSignal?.();
    this.waiting--;
    if (this.waiting === 0) this.whenAnswered?.();
    return true;
  }

  private obey(signal: AbortSignal, call: PendingCall): void {
    const abort = (): void => {
      this.fail(call, shardkeepError(Code.CANCELLED, `cancelled; ${fateOf(call)}`));
      call.stream?.cancel(call);
    };
    signal.addEventListener('abort', abort, { once: true });
    call.signal = signal;
    call.forgetSignal = () => {
      signal.removeEventListener('abort', abort);
    };
  }
}

/** Of a call that was not sent: why no stream is there to send it. A service that is there says so itself. */
function errorOfOutage({ code, metadata }: ClosingStatus, details: string): ShardkeepError {
  const isRefused = code === Code.UNAUTHENTICATED || code === Code.PERMISSION_DENIED;
  return isRefused && metadata !== undefined ? errorOfStatus({ code, details, metadata }) : notSent(details);
}

/** What became of a call that ends before its answer. */
function fateOf(call: PendingCall): string {
  return call.queued ? 'it was not started' : 'a write may have happened';
}
