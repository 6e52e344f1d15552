import type { CallContext } from './call-context.js';
import type { Rpc, UnaryRpc } from './rpc.js';

/** Charges a call to the rate policies of its RPC; throws RATE_LIMITED. Undefined where the call has none. */
export type RateGate = (request: unknown, context: CallContext) => Promise<void> | undefined;

/** Counts the calls of one RPC; `code` is a gRPC status code, `durationMs` that of a unary call. */
export interface RpcObserver {
  ended(code: number, durationMs: number | undefined): void;
}

/** An RPC with what is looked up once and not for each call. */
export interface PreparedRpc<Kind extends Rpc = Rpc> {
  readonly rpc: Kind;
  readonly gate: RateGate | undefined;
  readonly observer: RpcObserver;
}

export function isUnary(prepared: PreparedRpc): prepared is PreparedRpc<UnaryRpc> {
  return prepared.rpc.kind === 'unary';
}
