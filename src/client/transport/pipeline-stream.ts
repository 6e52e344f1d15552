import { status as Code, type Client, type ClientDuplexStream, type Metadata, type StatusObject } from '@grpc/grpc-js';
import { readAnswerFrame, type AnswerFrameVisitor, type PipelineLimits } from '../../wire/answer-frame.js';
import { ByteWriter } from '../../wire/byte-writer.js';
import { beginCall, writeCancelledId, writeMethod } from '../../wire/request-frame.js';
import { CallsInFlight } from './calls-in-flight.js';
import type { ClientMethod } from './method.js';
import type { CallCarrier, PendingCall } from './pending-call.js';

const PIPELINE_PATH = '/shardkeep.pipeline.v1.PipelineService/Pipeline';
const INITIAL_FRAME_BYTES = 8_192;
/** A frame leaves at this size without waiting for the rest of the tick. */
const FRAME_BYTES = 65_536;
/** Also at this many calls: the service works on them while the next frame is written, and not after. */
const FRAME_CALLS = 64;
const MAX_METHODS = 256;
/** The service ends a stream for a frame with more than 4,096; thousands of calls may time out in one tick. */
const FRAME_CANCELLED_IDS = 1_024;
/** How long the service may take to end a stream without calls that this side has ended. */
const END_MS = 500;

/** `metadata` is absent where this side ended the stream. */
export type ClosingStatus = Pick<StatusObject, 'code' | 'details'> & Partial<Pick<StatusObject, 'metadata'>>;

export interface PipelineStreamEvents {
  /** The service has accepted the stream. */
  onOpen(limits: PipelineLimits): void;
  /** The answer is a part of `frame`; see AnswerFrameVisitor. */
  onAnswer(call: PendingCall, ok: boolean, frame: Buffer, from: number, to: number): void;
  /** The service is going away: no more calls on this stream. */
  onDraining(): void;
  /** The stream is over. The calls of `sent` have no answer, those of `unsent` have not left. */
  onClosed(status: ClosingStatus, sent: readonly PendingCall[], unsent: readonly PendingCall[]): void;
}

/** One stream of PipelineService/Pipeline: the calls of one tick leave as one frame. */
export class PipelineStream implements AnswerFrameVisitor, CallCarrier {
  private readonly stream: ClientDuplexStream<Buffer, Buffer>;
  private readonly inFlight = new CallsInFlight();
  private readonly methods = new Map<ClientMethod, number>();
  private readonly frame = new ByteWriter(INITIAL_FRAME_BYTES);
  private readonly flushSoon: () => void;
  private flushScheduled = false;
  private callsInFrame = 0;
  private firstIdInFrame = 0;
  private cancelledIdsInFrame = 0;
  private accepted = false;
  private draining = false;
  private endTimer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    client: Client,
    metadata: Metadata,
    private readonly events: PipelineStreamEvents,
  ) {
    this.flushSoon = () => {
      this.flushScheduled = false;
      this.flush();
    };
    this.stream = client.makeBidiStreamRequest<Buffer, Buffer>(PIPELINE_PATH, identity, identity, metadata, {});
    this.stream.on('data', (bytes: Buffer) => {
      this.receive(bytes);
    });
    // 'status' comes after it and tells the same
    this.stream.on('error', () => undefined);
    this.stream.on('status', (status: StatusObject) => {
      this.close(status);
    });
  }

  get callsInFlight(): number {
    return this.inFlight.size;
  }

  /**
   * Puts a call into the frame of this tick. `payload` is its encoded request; undefined: the method's writer writes it.
   * Throws what the writer throws, having sent nothing.
   */
  send(call: PendingCall, payload: Buffer | undefined, length: number): void {
    const { frame } = this;
    const method = this.numberOf(call.method);
    const start = frame.length;
    this.inFlight.add(call);
    try {
      beginCall(frame, call.id, method, call.timeoutMs, length);
      if (payload === undefined) call.method.requestWriter?.write(call.request, frame);
      else frame.raw(payload);
    } catch (error) {
      frame.truncate(start);
      this.inFlight.take(call.id);
      throw error;
    }
    call.stream = this;
    if (this.callsInFrame === 0) this.firstIdInFrame = call.id;
    this.callsInFrame++;
    if (this.callsInFrame === FRAME_CALLS || frame.length >= FRAME_BYTES) this.flush();
    else this.scheduleFlush();
  }

  cancel(call: PendingCall): void {
    if (this.closed || !this.inFlight.has(call)) return;
    writeCancelledId(this.frame, call.id);
    this.cancelledIdsInFrame++;
    if (this.cancelledIdsInFrame === FRAME_CANCELLED_IDS) this.flush();
    else this.scheduleFlush();
  }

  /** For a service that goes away: takes no more calls, and ends when those that left are answered. Answers the others. */
  drain(): readonly PendingCall[] {
    if (this.closed || this.draining) return [];
    this.draining = true;
    const unsent = this.takeUnsent();
    this.endWhenAnswered();
    return unsent;
  }

  /** Ends the stream; for when nobody waits for an answer any more. */
  end(): void {
    if (this.closed) return;
    // a service that says nothing would not end it, and the stream would keep the process
    if (!this.accepted || this.inFlight.size > 0) {
      this.stream.cancel();
      return;
    }
    this.stream.end();
    this.endTimer = setTimeout(() => {
      this.stream.cancel();
    }, END_MS);
    this.endTimer.unref();
  }

  onLimits(limits: PipelineLimits): void {
    this.accepted = true;
    this.events.onOpen(limits);
  }

  onAnswer(id: number, ok: boolean, frame: Buffer, from: number, to: number): void {
    const call = this.inFlight.take(id);
    if (call === undefined) return;
    this.events.onAnswer(call, ok, frame, from, to);
    if (this.draining) this.endWhenAnswered();
  }

  onDraining(): void {
    this.events.onDraining();
  }

  private receive(bytes: Buffer): void {
    try {
      readAnswerFrame(bytes, this);
    } catch {
      this.stream.cancel();
      this.close({ code: Code.INTERNAL, details: 'the service sent a frame that cannot be decoded' });
    }
  }

  private close(status: ClosingStatus): void {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.endTimer);
    const unsent = this.takeUnsent();
    this.events.onClosed(status, this.inFlight.takeAll(), unsent);
  }

  private takeUnsent(): PendingCall[] {
    if (this.callsInFrame === 0) return [];
    // ids that the same frame gives up go with it: their calls end by their own timeout
    this.frame.truncate(0);
    this.callsInFrame = 0;
    this.cancelledIdsInFrame = 0;
    return this.inFlight.takeFrom(this.firstIdInFrame);
  }

  private endWhenAnswered(): void {
    if (this.inFlight.size > 0 || this.closed) return;
    this.flush();
    this.stream.end();
  }

  private numberOf(method: ClientMethod): number {
    const known = this.methods.get(method);
    if (known !== undefined) return known;
    const number = this.methods.size;
    if (number >= MAX_METHODS) throw new RangeError('too many methods for one stream');
    this.methods.set(method, number);
    writeMethod(this.frame, method.name);
    return number;
  }

  private scheduleFlush(): void {
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    setImmediate(this.flushSoon);
  }

  private flush(): void {
    if (this.frame.length === 0 || this.closed) return;
    this.callsInFrame = 0;
    this.cancelledIdsInFrame = 0;
    const bytes = this.frame.take();
    this.stream.write(bytes, () => {
      this.frame.recycle(bytes);
    });
  }
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}
