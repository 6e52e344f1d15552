import type { ServerDuplexStream } from '@grpc/grpc-js';
import { DomainError } from '../errors.js';
import { refusalOr, type Followed } from './authority.js';
import type { Lasting } from './connection.js';
import { admitStreamOf } from './invoke.js';
import { PipelineStream, type PipelineOptions } from './pipeline.js';
import { toStatus } from './status.js';
import { endStream } from './trailers.js';

/** `package.Service/Method`. */
export const PIPELINE_RPC = 'shardkeep.pipeline.v1.PipelineService/Pipeline';

/** All streams of PipelineService/Pipeline. Every principal may open one; what it may call is decided call by call. */
export class PipelineStreams {
  readonly streams = new Set<PipelineStream>();
  /** Of all streams. */
  readonly unsent = { bytes: 0 };
  private draining = false;

  constructor(private readonly options: PipelineOptions) {}

  /** Serves a stream, and answers what ends it in peace; undefined where it was refused. */
  open(grpcCall: ServerDuplexStream<Buffer, Buffer>): Lasting | undefined {
    const followed = refusalOr(() =>
      this.follow(grpcCall, (error) => {
        stream.revoke(error);
      }),
    );
    if (followed instanceof DomainError) {
      endStream(grpcCall, toStatus(followed));
      return undefined;
    }
    const { load } = followed.principal;
    if (load !== undefined) load.streams++;
    const stream = new PipelineStream(grpcCall, this.options, followed, this.unsent);
    this.streams.add(stream);
    this.options.openCalls.opened();
    grpcCall.on('cancelled', () => {
      this.streams.delete(stream);
      followed.release();
      if (load !== undefined) load.streams--;
      stream.closed();
      this.options.openCalls.closed();
    });
    if (this.draining) stream.drain();
    return stream;
  }

  /** Tells the callers to go elsewhere. */
  drain(): void {
    this.draining = true;
    for (const stream of this.streams) stream.drain();
  }

  private follow(grpcCall: ServerDuplexStream<Buffer, Buffer>, onEnd: (error: DomainError) => void): Followed {
    const followed = this.options.authority.follow(grpcCall, undefined, onEnd);
    try {
      admitStreamOf(followed.principal);
    } catch (error) {
      followed.release();
      throw error;
    }
    return followed;
  }
}
