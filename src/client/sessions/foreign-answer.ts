import { status as Code } from '@grpc/grpc-js';
import { shardkeepError, type ShardkeepError } from '../errors.js';

/** The service, which is newer than this client, answered an outcome that the client has no word for. */
export function foreignAnswer(rpc: string): ShardkeepError {
  return shardkeepError(Code.UNKNOWN, `${rpc} was answered in a way that this client does not know`);
}
