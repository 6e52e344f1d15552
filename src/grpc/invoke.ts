import { performance } from 'node:perf_hooks';
import { status as Code } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import { DeadlineWheel } from '../wire/deadline-wheel.js';
import { decodeRequest } from './decode-request.js';
import { FailureLog } from './failure-log.js';
import { memoryBound } from './memory-bound.js';
import type { PreparedRpc, RateGate, RpcObserver } from './prepared-rpc.js';
import { notAllowed, type Principal } from './principal.js';
import type { Rejections } from './rejections.js';
import type { Rpc } from './rpc.js';
import { runStream } from './run-stream.js';
import { CallEndedError, StandingRefusal, toStatus, type FailureReason, type RpcStatus } from './status.js';
import type { StreamCall } from './stream-call.js';
import type { Tracing } from './tracing.js';
import type { Parking, SingleCall, TransportCall } from './transport-call.js';

export interface InvokerOptions {
  /** The gate of an RPC by its name; undefined where no policy names it. */
  readonly rateGateOf: (rpc: string) => RateGate | undefined;
  readonly observerOf: (rpc: string) => RpcObserver;
  readonly maxInFlight: number;
  /** Calls that wait for something other than Redis; they do not count as in flight. */
  readonly maxParked: number;
  /** Open streams, counted apart from calls in flight. */
  readonly maxStreams: number;
  /** Undefined: nobody collects traces. */
  readonly tracing: Tracing | undefined;
  readonly rejections: Rejections;
  readonly logger: Logger;
}

/** What is going on at this moment. */
export interface CallLoad {
  readonly inFlight: number;
  readonly parked: number;
  readonly streams: number;
}

/** Of the requests in flight, as they came: what they hold of the memory may be twice as much. */
const MAX_BYTES_IN_FLIGHT = memoryBound(process.constrainedMemory());

/** How long a caller should wait who was told OVERLOADED. */
export const OVERLOAD_RETRY_MS = 100;

const TOO_MANY_CALLS = new StandingRefusal(overloaded('too many calls in flight'));
const TOO_MANY_CALLS_OF_PRINCIPAL = new StandingRefusal(overloaded('too many calls of this principal in flight'));

/**
 * The one way in. Every transport brings a call here, and it goes through admission → decoding → validation → the RPC's
 * rate policy → handler → error mapping → log, within the call's deadline; who calls is known by then, and admission asks
 * whether they may. A stream goes the same way, each of its requests
 * through decoding and validation and the first one through the rate policy. Validation comes before the rate policy: a
 * wrong request writes nothing, and the policy's subjects are fields of the request.
 *
 * This path decides how many calls a core can take, so what can be made once is not made for each call.
 */
export class Invoker implements Parking {
  /** How many calls ended without an answer, by what kept them from it. */
  readonly failures = new Map<FailureReason, number>();
  private readonly deadlines = new DeadlineWheel();
  private readonly failureLog: FailureLog;
  private readonly endEarly: NonNullable<TransportCall['onEarlyEnd']>;
  private readonly streams = new Set<StreamCall>();
  private inFlight = 0;
  private bytesInFlight = 0;
  private parked = 0;
  private draining = false;

  constructor(private readonly options: InvokerOptions) {
    this.failureLog = new FailureLog(options.logger);
    this.endEarly = (call, reason) => {
      this.deadlines.remove(call);
      this.refuse(call, toStatus(new CallEndedError(reason)));
    };
  }

  get load(): CallLoad {
    return { inFlight: this.inFlight, parked: this.parked, streams: this.streams.size };
  }

  prepare<Kind extends Rpc>(rpc: Kind): PreparedRpc<Kind> {
    return { rpc, gate: this.options.rateGateOf(rpc.name), observer: this.options.observerOf(rpc.name) };
  }

  /** For the call that parks: it gives its place among those in flight back, and takes one again. */
  park(): boolean {
    if (this.parked >= this.options.maxParked) return false;
    this.parked++;
    this.inFlight--;
    return true;
  }

  unpark(): void {
    this.parked--;
    this.inFlight++;
  }

  /** From now on calls answer DRAINING; those in flight go on, and streams as their RPC declares. */
  drain(): void {
    this.draining = true;
    for (const call of this.streams) call.drain();
  }

  /** Ends the streams that are still open, with DRAINING; answers whether there were any. */
  endStreams(): boolean {
    for (const call of this.streams) call.end('draining');
    return this.streams.size > 0;
  }

  /** The request is a part of `bytes`. */
  invoke(call: SingleCall, bytes: Buffer, from: number, to: number): void {
    let work: Promise<unknown>;
    const byteLength = to - from;
    call.trace = this.options.tracing?.begin(call);
    try {
      this.admit(call, byteLength);
    } catch (error) {
      this.fail(call, error);
      return;
    }
    // in flight until the work is done, which may be after the caller got DEADLINE_EXCEEDED; counted before it starts,
    // because a handler may park at once
    this.inFlight++;
    this.bytesInFlight += byteLength;
    const { load } = call.principal;
    if (load !== undefined) load.callsInFlight++;
    call.parking = this;
    try {
      work = start(call, bytes, from, to);
    } catch (error) {
      this.done(call, byteLength);
      this.fail(call, error);
      return;
    }
    this.deadlines.add(call);
    call.onEarlyEnd = this.endEarly;
    work.then(
      (response) => {
        this.done(call, byteLength);
        this.succeed(call, response);
      },
      (error: unknown) => {
        this.done(call, byteLength);
        this.fail(call, error);
      },
    );
  }

  /** The same for a stream, which is open until its handler is done: that may be after the caller got its status. */
  invokeStream(call: StreamCall): void {
    call.trace = this.options.tracing?.begin(call);
    try {
      this.admitStream(call);
    } catch (error) {
      this.fail(call, error);
      call.released();
      return;
    }
    this.streams.add(call);
    const { load } = call.principal;
    if (load !== undefined) load.streams++;
    if (Number.isFinite(call.deadlineAt)) this.deadlines.add(call);
    call.onEarlyEnd = this.endEarly;
    const fail = (error: unknown): void => {
      this.fail(call, error);
    };
    void runStream(call, fail)
      .then(() => {
        this.finish(call);
      }, fail)
      .then(() => {
        this.streams.delete(call);
        if (load !== undefined) load.streams--;
        call.released();
      });
  }

  /** Refuses a call before it was begun, or ends a stream, for what the transport knows of it. */
  reject(call: TransportCall, error: DomainError): void {
    this.fail(call, error);
  }

  private done({ principal: { load } }: SingleCall, byteLength: number): void {
    this.inFlight--;
    this.bytesInFlight -= byteLength;
    if (load !== undefined) load.callsInFlight--;
  }

  private admit(call: SingleCall, byteLength: number): void {
    this.admitAny(call);
    if (this.inFlight >= this.options.maxInFlight) {
      this.options.rejections.count('overload');
      throw TOO_MANY_CALLS;
    }
    // one of whatever length must be possible
    if (this.bytesInFlight > 0 && this.bytesInFlight + byteLength > MAX_BYTES_IN_FLIGHT) {
      this.options.rejections.count('overload');
      throw overloaded('too large calls in flight');
    }
    const { load } = call.principal;
    if (load !== undefined && load.callsInFlight >= load.maxCallsInFlight) {
      this.options.rejections.count('overload');
      throw TOO_MANY_CALLS_OF_PRINCIPAL;
    }
  }

  private admitStream(call: StreamCall): void {
    this.admitAny(call);
    if (this.streams.size >= this.options.maxStreams) {
      this.options.rejections.count('overload');
      throw overloaded('too many streams open');
    }
    admitStreamOf(call.principal);
  }

  private admitAny(call: TransportCall): void {
    if (call.arrivedAt >= call.deadlineAt) throw new CallEndedError('deadline');
    if (this.draining) {
      this.options.rejections.count('draining');
      throw new DomainError('DRAINING', 'the service is going away; the call was not started', { retryAfterMs: 0 });
    }
    const { rpcs } = call.principal;
    if (rpcs !== undefined && !rpcs.has(call.prepared.rpc.name)) throw notAllowed('rpc');
  }

  private finish(call: StreamCall): void {
    if (!call.end('answered')) return;
    this.deadlines.remove(call);
    call.finish();
    call.trace?.end(Code.OK);
    call.prepared.observer.ended(Code.OK, undefined);
  }

  private succeed(call: SingleCall, response: unknown): void {
    if (!call.end('answered')) return;
    this.deadlines.remove(call);
    try {
      call.succeed(response);
    } catch (error) {
      this.refuse(call, toStatus(error));
      return;
    }
    call.trace?.end(Code.OK);
    call.prepared.observer.ended(Code.OK, performance.now() - call.arrivedAt);
  }

  private fail(call: TransportCall, error: unknown): void {
    if (!call.end('answered')) return;
    this.deadlines.remove(call);
    this.refuse(call, toStatus(error));
  }

  private refuse(call: TransportCall, status: RpcStatus): void {
    const { rpc, observer } = call.prepared;
    this.failureLog.record(rpc.name, status);
    call.fail(status);
    call.trace?.end(status.code);
    this.failures.set(status.reason, (this.failures.get(status.reason) ?? 0) + 1);
    observer.ended(status.code, rpc.kind === 'unary' ? performance.now() - call.arrivedAt : undefined);
  }
}

function overloaded(message: string): DomainError {
  return new DomainError('OVERLOADED', message, { retryAfterMs: OVERLOAD_RETRY_MS });
}

/** Throws OVERLOADED where a principal has as many streams open as it may. */
export function admitStreamOf({ load }: Principal): void {
  if (load !== undefined && load.streams >= load.maxStreams)
    throw overloaded('too many streams of this principal open');
}

/** Decodes, validates, charges, hands over. Throws, or rejects, with what the caller did wrong. */
function start(call: SingleCall, bytes: Buffer, from: number, to: number): Promise<unknown> {
  const { rpc, gate } = call.prepared;
  const request = decodeRequest(rpc, bytes, from, to);
  rpc.permit?.(request, call.principal);
  try {
    rpc.check(request);
  } catch (error) {
    rpc.refused?.(request, call);
    throw error;
  }
  const charged = gate?.(request, call);
  return charged === undefined ? rpc.handle(request, call) : charged.then(() => rpc.handle(request, call));
}
