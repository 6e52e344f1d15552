import type { Metadata } from '@grpc/grpc-js';

/** The headers of the trace that is going on, such as `traceparent`. */
export type TraceContext = () => Readonly<Record<string, string>>;

/** What a call carries, and the trace that it is part of. */
export function withTraceContext(metadata: () => Metadata, traceContext: TraceContext): () => Metadata {
  return () => {
    const carried = metadata();
    try {
      for (const [name, value] of Object.entries(traceContext())) {
        if (carried.get(name).length === 0) carried.set(name, value);
      }
    } catch {
      // no call fails for its trace
    }
    return carried;
  };
}
