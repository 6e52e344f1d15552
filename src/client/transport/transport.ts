import type { CallOptions, ClientMethod } from './method.js';

/** Brings calls to the service. */
export interface Transport {
  /** Answers the decoded response; rejects with ShardkeepError. */
  call(method: ClientMethod, request: object, options: CallOptions): Promise<unknown>;
  /** Waits for the calls in flight; later ones fail. */
  close(): Promise<void>;
}
