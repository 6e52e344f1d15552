import type { handleBidiStreamingCall } from '@grpc/grpc-js';
import { connectionOf } from './connection.js';
import { TOO_MANY_PIPELINES } from './pipeline-refusals.js';
import type { PipelineStreams } from './pipeline-streams.js';
import type { Rejections } from './rejections.js';
import { endStream } from './trailers.js';

/** A stream of the pipeline moves when its connection is to go, and a connection has only so many. */
export function onItsConnection(
  pipeline: PipelineStreams,
  rejections: Rejections,
): handleBidiStreamingCall<Buffer, Buffer> {
  return (grpcCall) => {
    const connection = connectionOf(grpcCall.metadata);
    if (connection === undefined) throw new Error('a stream of the pipeline came on no connection');
    if (!connection.mayOpenPipeline) {
      rejections.count('overload');
      endStream(grpcCall, TOO_MANY_PIPELINES);
      return;
    }
    const stream = pipeline.open(grpcCall);
    if (stream === undefined) return;
    connection.pipelines++;
    const letGo = connection.hold(stream);
    grpcCall.on('cancelled', () => {
      connection.pipelines--;
      letGo();
    });
  };
}
