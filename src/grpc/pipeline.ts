import { performance } from 'node:perf_hooks';
import { status as Code, type ServerDuplexStream } from '@grpc/grpc-js';
import { answerTooLarge, DomainError } from '../errors.js';
import {
  answerLength,
  beginResponse,
  writeDraining,
  writeFailure,
  writeLimits,
  type PipelineLimits,
} from '../wire/answer-frame.js';
import { MalformedMessageError } from '../wire/byte-reader.js';
import { ByteWriter } from '../wire/byte-writer.js';
import { MAX_METHODS, readRequestFrame, type FramedCall, type RequestFrame } from '../wire/request-frame.js';
import type { Followed } from './authority.js';
import { OVERLOAD_RETRY_MS, type Invoker } from './invoke.js';
import { REQUEST_TOO_LARGE, STREAM_IS_FULL } from './pipeline-refusals.js';
import type { PreparedRpc } from './prepared-rpc.js';
import type { Principal } from './principal.js';
import type { UnaryRpc } from './rpc.js';
import { toStatus, unimplemented, type RpcStatus } from './status.js';
import type { Carried } from './tracing.js';
import { endStream, type TrailingStatus } from './trailers.js';
import { SingleCall, timeoutMsOf, withoutPort } from './transport-call.js';
import type { TransportOptions } from './unary.js';

export interface PipelineOptions extends TransportOptions {
  readonly invoker: Invoker;
  readonly rpcs: ReadonlyMap<string, PreparedRpc<UnaryRpc>>;
  readonly maxCallsInFlight: number;
}

type Stream = ServerDuplexStream<Buffer, Buffer>;

const MAX_REQUEST_BYTES = 262_144;
/** A frame is closed at this size; a longer answer goes alone. */
const FRAME_BYTES = 65_536;
/** Also at this many answers: the caller works on them while the rest is written, and not after. */
const FRAME_ANSWERS = 64;
const INITIAL_FRAME_BYTES = 16_384;
/** Unsent answers from which on no more calls are read. */
const PAUSE_ABOVE_BYTES = 1_048_576;
/** Unsent answers from which on a long answer is given up: the calls already in flight still answer. */
const MAX_UNSENT_BYTES = 33_554_432;
/** The same for all streams together: then only small answers are sent. */
const MAX_UNSENT_BYTES_IN_ALL = 268_435_456;
const SMALL_ANSWER_BYTES = 4_096;
/** How long a stream without calls stays open in a drain, for its caller to end it. */
const DRAIN_QUIET_MS = 500;
/** How long calls may go on that were begun before their credential ended. */
const REVOKED_MS = 1_000;

const GOING_AWAY: TrailingStatus = { code: Code.UNAVAILABLE, message: 'the service is going away' };

class PipelineCall extends SingleCall {
  constructor(
    readonly id: number,
    private readonly stream: PipelineStream,
    prepared: PreparedRpc<UnaryRpc>,
    arrivedAt: number,
    deadlineAt: number,
    override readonly carried: Carried,
  ) {
    super(prepared, stream.principal, arrivedAt, deadlineAt);
  }

  override get peer(): string {
    return this.stream.peer;
  }

  override succeed(response: unknown): void {
    this.stream.respond(this, response);
  }

  override fail(status: RpcStatus): void {
    this.stream.fail(this.id, status);
  }
}

/**
 * One stream: decodes frames into calls, brings each to the invoker and gathers the answers of a tick in one frame. A
 * caller that does not read its answers is not read either.
 */
export class PipelineStream {
  private readonly methods: { readonly name: string; readonly prepared: PreparedRpc<UnaryRpc> | undefined }[] = [];
  private readonly inFlight = new Map<number, PipelineCall>();
  private readonly frame = new ByteWriter(INITIAL_FRAME_BYTES);
  private readonly flushSoon: () => void;
  private readonly carried: Carried;
  private flushScheduled = false;
  private answersInFrame = 0;
  private unsentBytes = 0;
  private gone = false;
  /** No more calls are read: the caller ended its half, or broke the protocol. */
  private closing = false;
  private violation: TrailingStatus | undefined;
  /** What calls are refused with that come now. */
  private refusal: RpcStatus | undefined;
  private draining = false;
  private quietTimer: NodeJS.Timeout | undefined;
  private revokedTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly stream: Stream,
    readonly options: PipelineOptions,
    private readonly opened: Pick<Followed, 'principal'>,
    private readonly unsent: { bytes: number },
  ) {
    this.carried = { metadata: stream.metadata, isShared: true };
    this.flushSoon = () => {
      this.flushScheduled = false;
      this.flush();
    };
    stream.on('data', (bytes: Buffer) => {
      this.receive(bytes);
    });
    stream.on('end', () => {
      this.closing = true;
      this.endWhenDone();
    });
    const limits: PipelineLimits = {
      maxCallsInFlight: options.maxCallsInFlight,
      maxRequestBytes: MAX_REQUEST_BYTES,
      maxFrameBytes: options.maxMessageBytes,
    };
    writeLimits(this.frame, limits);
    this.flush();
  }

  /** What holds for calls that begin now. */
  get principal(): Principal {
    return this.opened.principal;
  }

  get peer(): string {
    return withoutPort(this.stream.getPeer());
  }

  drain(): void {
    this.draining = true;
    writeDraining(this.frame);
    this.flush();
    this.endWhenQuiet();
  }

  /**
   * The credential that the stream was opened with has ended: no call begins any more. A caller that has another by now is
   * told to open a stream by it, and those it has in flight are answered meanwhile.
   */
  revoke(error: DomainError): void {
    this.refusal = toStatus(error);
    this.drain();
    this.revokedTimer = setTimeout(() => {
      if (this.stream.writable) this.endWith(this.refusal ?? GOING_AWAY);
    }, REVOKED_MS);
  }

  /** The stream is gone, in whatever way: nobody waits for what is still in flight. */
  closed(): void {
    this.closing = true;
    this.gone = true;
    this.unsent.bytes -= this.unsentBytes;
    clearTimeout(this.quietTimer);
    clearTimeout(this.revokedTimer);
    const calls = [...this.inFlight.values()];
    this.inFlight.clear();
    for (const call of calls) call.end('cancelled');
  }

  /** Writes a response into the frame of this tick; throws, having written nothing, when it is too large. */
  respond(call: PipelineCall, response: unknown): void {
    const { rpc } = call.prepared;
    if (rpc.writer === undefined) {
      const payload = rpc.encode(response);
      this.beginAnswer(call.id, payload.length);
      this.frame.raw(payload);
    } else {
      const length = rpc.writer.length(response);
      const begin = this.beginAnswer(call.id, length);
      const end = this.frame.length + length;
      try {
        rpc.writer.write(response, this.frame);
        if (this.frame.length !== end)
          throw new Error(`an answer of ${call.prepared.rpc.name} has another length than said`);
      } catch (error) {
        // half an answer would make nonsense of all that follow it
        this.frame.truncate(begin);
        throw error;
      }
    }
    this.answered(call.id);
  }

  fail(id: number, { details }: RpcStatus): void {
    this.makeRoom(answerLength(id, details.length));
    writeFailure(this.frame, id, details);
    this.answered(id);
  }

  private receive(bytes: Buffer): void {
    if (this.closing) return;
    let frame: RequestFrame;
    try {
      frame = readRequestFrame(bytes);
    } catch (error) {
      this.refuseFrame(error instanceof MalformedMessageError ? error.message : 'a frame cannot be decoded');
      return;
    }
    for (const name of frame.methods) this.methods.push({ name, prepared: this.options.rpcs.get(name) });
    const problem = this.problemOf(frame);
    if (problem !== undefined) {
      this.refuseFrame(problem);
      return;
    }
    const arrivedAt = performance.now();
    for (const call of frame.calls) this.start(call, bytes, arrivedAt);
    for (const id of frame.cancelledIds) this.inFlight.get(id)?.end('cancelled');
  }

  /** What makes a frame's answers ambiguous; none of its calls is started then. */
  private problemOf({ calls }: RequestFrame): string | undefined {
    if (this.methods.length > MAX_METHODS) return 'too many methods';
    let previousId = 0;
    let ascending = true;
    for (const { id, method } of calls) {
      if (id === 0) return 'a call has the id 0';
      if (this.inFlight.has(id)) return 'a call has the id of one in flight';
      if (method >= this.methods.length) return 'a call has a method number outside the table';
      ascending &&= id > previousId;
      previousId = id;
    }
    // most callers count upwards, and what does cannot repeat
    if (ascending || new Set(calls.map(({ id }) => id)).size === calls.length) return undefined;
    return 'two calls of a frame have the same id';
  }

  private start({ id, method, timeoutMs, requestFrom, requestTo }: FramedCall, frame: Buffer, arrivedAt: number): void {
    const { options } = this;
    const { name, prepared } = this.methods[method] ?? { name: '', prepared: undefined };
    if (this.refusal !== undefined) {
      this.fail(id, this.refusal);
      return;
    }
    if (prepared === undefined) {
      this.fail(id, unimplemented(`no unary RPC has the name ${name}`));
      return;
    }
    if (requestTo - requestFrom > MAX_REQUEST_BYTES) {
      options.rejections.count('size');
      this.fail(id, REQUEST_TOO_LARGE);
      return;
    }
    if (this.inFlight.size >= options.maxCallsInFlight) {
      options.rejections.count('overload');
      this.fail(id, STREAM_IS_FULL);
      return;
    }
    const deadlineAt = arrivedAt + timeoutMsOf(timeoutMs === 0 ? undefined : timeoutMs, options);
    const call = new PipelineCall(id, this, prepared, arrivedAt, deadlineAt, this.carried);
    this.inFlight.set(id, call);
    options.invoker.invoke(call, frame, requestFrom, requestTo);
  }

  /** Answers where the answer begins. */
  private beginAnswer(id: number, responseLength: number): number {
    const length = answerLength(id, responseLength);
    if (length > this.options.maxMessageBytes) throw answerTooLarge();
    const unreadable =
      (length > FRAME_BYTES && this.unsentBytes > MAX_UNSENT_BYTES) ||
      (length > SMALL_ANSWER_BYTES && this.unsent.bytes > MAX_UNSENT_BYTES_IN_ALL);
    if (unreadable) {
      throw new DomainError('OVERLOADED', 'the caller does not read its answers', { retryAfterMs: OVERLOAD_RETRY_MS });
    }
    this.makeRoom(length);
    const begin = this.frame.length;
    beginResponse(this.frame, id, responseLength);
    return begin;
  }

  /** Sends the frame first when the next answer would make it too long. */
  private makeRoom(byteLength: number): void {
    if (this.frame.length + byteLength > FRAME_BYTES) this.flush();
  }

  private answered(id: number): void {
    this.inFlight.delete(id);
    this.answersInFrame++;
    if (this.answersInFrame === FRAME_ANSWERS) {
      this.flush();
    } else if (!this.flushScheduled) {
      this.flushScheduled = true;
      // behind everything that this turn of the event loop has to say
      setImmediate(this.flushSoon);
    }
  }

  private flush(): void {
    if (this.frame.length > 0 && this.stream.writable) {
      this.answersInFrame = 0;
      const bytes = this.frame.take();
      this.unsentBytes += bytes.length;
      this.unsent.bytes += bytes.length;
      this.stream.write(bytes, () => {
        // the writes of a stream that is gone were settled with it, and not all of them are called back
        if (this.gone) return;
        this.unsentBytes -= bytes.length;
        this.unsent.bytes -= bytes.length;
        this.frame.recycle(bytes);
        if (this.stream.isPaused() && this.unsentBytes < PAUSE_ABOVE_BYTES) this.stream.resume();
      });
      if (this.unsentBytes >= PAUSE_ABOVE_BYTES) this.stream.pause();
    }
    this.endWhenDone();
    if (this.draining) this.endWhenQuiet();
  }

  private refuseFrame(problem: string): void {
    this.closing = true;
    this.violation = { code: Code.INVALID_ARGUMENT, message: problem };
    this.endWhenDone();
  }

  private endWhenDone(): void {
    if (!this.closing || this.inFlight.size > 0 || this.frame.length > 0 || !this.stream.writable) return;
    if (this.violation === undefined) this.stream.end();
    else this.endWith(this.violation);
  }

  /** A caller that does not know of draining must not hold the drain. */
  private endWhenQuiet(): void {
    if (this.inFlight.size > 0) {
      clearTimeout(this.quietTimer);
      this.quietTimer = undefined;
      return;
    }
    // one that goes on sending is only told again: that is no reason to wait
    this.quietTimer ??= setTimeout(() => {
      if (this.inFlight.size === 0 && this.stream.writable) this.endWith(this.refusal ?? GOING_AWAY);
    }, DRAIN_QUIET_MS);
  }

  private endWith(status: TrailingStatus): void {
    this.closing = true;
    endStream(this.stream, status);
  }
}
