import { decodeRequest } from './decode-request.js';
import { CallEndedError } from './status.js';
import type { StreamCall } from './stream-call.js';

/**
 * Hands a stream to its handler, and the handler's answers to the transport one by one: the next is asked for when the
 * transport has room for it. When the call ends, in whatever way, the handler's iterator is told by `return`. Resolves
 * when the handler has nothing more to say, rejects with what went wrong; in both cases the handler is done.
 *
 * `refuse` ends the call for a wrong request at once, whatever the handler makes of the error that it gets.
 */
export async function runStream(call: StreamCall, refuse: (error: unknown) => void): Promise<void> {
  const answers = await startHandler(call, refuse);
  let closed: Promise<void> | undefined;
  call.whenEnded(() => {
    closed = close(answers);
    // awaited below; it may fail before
    closed.catch(() => undefined);
  });
  try {
    for (;;) {
      const next = await answers.next();
      if (next.done === true || call.ended) return;
      await call.send(call.prepared.rpc.encode(next.value));
    }
  } finally {
    await (closed ?? close(answers));
  }
}

async function startHandler(call: StreamCall, refuse: (error: unknown) => void): Promise<AsyncIterator<unknown>> {
  const { rpc } = call.prepared;
  const requests = checkedRequests(call, refuse);
  if (rpc.kind === 'bidi-stream') return rpc.handle(requests, call)[Symbol.asyncIterator]();
  const { value: request } = await requests.next();
  if (call.ended) throw new CallEndedError('cancelled');
  return rpc.handle(request, call)[Symbol.asyncIterator]();
}

/** The first one is charged to the rate policies of the RPC: who is limited stands in its fields. */
async function* checkedRequests(call: StreamCall, refuse: (error: unknown) => void): AsyncGenerator<unknown, void> {
  const { rpc, gate } = call.prepared;
  let isFirst = true;
  for await (const bytes of call.requests) {
    let request: unknown;
    try {
      request = decodeRequest(rpc, bytes, 0, bytes.length);
      rpc.permit?.(request, call.principal);
      rpc.check(request);
      if (isFirst) await gate?.(request, call);
    } catch (error) {
      refuse(error);
      throw error;
    }
    isFirst = false;
    yield request;
  }
}

async function close(iterator: AsyncIterator<unknown>): Promise<void> {
  await iterator.return?.();
}
