import { ShardkeepError } from '../../src/client/index.js';

/** Waits for a call of the SDK to fail and answers how; fails when it succeeds. */
export async function errorOf(call: Promise<unknown>): Promise<ShardkeepError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ShardkeepError)) throw new Error('expected a ShardkeepError', { cause: error });
  return error;
}
