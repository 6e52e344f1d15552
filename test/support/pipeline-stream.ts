import {
  Client,
  credentials,
  Metadata,
  status as Code,
  type ClientDuplexStream,
  type StatusObject,
} from '@grpc/grpc-js';
import { PipelineRequest, PipelineResponse, type Answer } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';

/** One stream of the pipeline, frame by frame, with generated codecs: what somebody else's client would send. */

const PATH = '/shardkeep.pipeline.v1.PipelineService/Pipeline';

export interface FramedCall {
  readonly id: number;
  readonly method?: number;
  readonly timeoutMs?: number;
  readonly request?: Buffer;
}

export interface Frame {
  readonly methods?: readonly string[];
  readonly calls?: readonly FramedCall[];
  readonly cancelledIds?: readonly number[];
}

export class RawPipeline {
  readonly frames: PipelineResponse[] = [];
  readonly answers: Answer[] = [];
  /** Resolves when the stream is over; never rejects. */
  readonly ended: Promise<Pick<StatusObject, 'code' | 'details'>>;
  private readonly client: Client;
  private readonly stream: ClientDuplexStream<Buffer, Buffer>;
  private readonly watchers = new Set<() => void>();
  private over = false;

  /** Opens a stream on a connection of its own, or on that of a client. */
  constructor(at: string | Client, metadata = new Metadata()) {
    const ownsClient = typeof at === 'string';
    this.client = ownsClient ? connect(at) : at;
    const identity = (bytes: Buffer): Buffer => bytes;
    this.stream = this.client.makeBidiStreamRequest(PATH, identity, identity, metadata, {});
    this.stream.on('data', (bytes: Buffer) => {
      const frame = PipelineResponse.decode(bytes);
      this.frames.push(frame);
      this.answers.push(...frame.answers);
      this.notify();
    });
    this.stream.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.stream.on('status', ({ code, details }: StatusObject) => {
        this.over = true;
        resolve({ code, details });
        this.notify();
        if (ownsClient) this.client.close();
      });
    });
  }

  /** Sends a frame; answers false when the caller should wait, because earlier ones have not left yet. */
  send(frame: Frame): boolean {
    return this.sendBytes(encodeFrame(frame));
  }

  sendBytes(bytes: Buffer): boolean {
    return this.stream.write(bytes);
  }

  /** Waits until so many answers have come, and answers them in the order they came. */
  async untilAnswers(count: number): Promise<readonly Answer[]> {
    await this.until(() => this.answers.length >= count);
    return this.answers;
  }

  /** Waits until something is true of what has come; rejects when the stream ends without it. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (condition()) resolve();
        else if (this.over) reject(new Error('the stream ended before'));
        else return;
        this.watchers.delete(look);
      };
      this.watchers.add(look);
      look();
    });
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  halfClose(): void {
    this.stream.end();
  }

  /** Goes away in the middle. */
  cancel(): void {
    this.stream.cancel();
  }

  private notify(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}

function connect(address: string): Client {
  return new Client(address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
}

export function encodeFrame({ methods = [], calls = [], cancelledIds = [] }: Frame): Buffer {
  return Buffer.from(
    PipelineRequest.encode({
      methods: [...methods],
      calls: calls.map(({ id, method = 0, timeoutMs = 0, request = Buffer.alloc(0) }) => ({
        id,
        method,
        timeoutMs,
        request,
      })),
      cancelledIds: [...cancelledIds],
    }).finish(),
  );
}

/** The bytes of a successful answer. Throws for a failed one. */
export function responseOf(answer: Answer | undefined): Buffer {
  if (answer?.outcome?.$case !== 'response') throw new Error(`no response: ${JSON.stringify(answer?.outcome?.value)}`);
  return answer.outcome.value;
}

/** The gRPC code of an answer. */
export function codeOf(answer: Answer | undefined): number {
  if (answer?.outcome?.$case === 'response') return Code.OK;
  return answer?.outcome?.value.code ?? Code.UNKNOWN;
}
