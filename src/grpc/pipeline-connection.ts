import { Metadata, type handleBidiStreamingCall } from '@grpc/grpc-js';
import { connectionOf } from './connection.js';
import type { Pipeline } from './pipeline.js';
import { TOO_MANY_PIPELINES } from './pipeline-refusals.js';
import type { Rejections } from './rejections.js';

/** A stream of the pipeline moves when its connection is to go, and a connection has only so many. */
export function onItsConnection(pipeline: Pipeline, rejections: Rejections): handleBidiStreamingCall<Buffer, Buffer> {
  return (grpcCall) => {
    const connection = connectionOf(grpcCall.metadata);
    if (connection === undefined) throw new Error('a stream of the pipeline came on no connection');
    if (!connection.mayOpenPipeline) {
      const { code, message, details } = TOO_MANY_PIPELINES;
      const metadata = new Metadata();
      metadata.set('grpc-status-details-bin', details);
      rejections.count('overload');
      grpcCall.emit('error', Object.assign(new Error(message), { code, details: message, metadata }));
      return;
    }
    connection.pipelines++;
    const letGo = connection.hold(pipeline.open(grpcCall));
    grpcCall.on('cancelled', () => {
      connection.pipelines--;
      letGo();
    });
  };
}
