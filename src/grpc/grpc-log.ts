import { setLogger } from '@grpc/grpc-js';

/**
 * grpc-js writes metadata that it takes for bad to standard error as it came, a token among it, as often as a caller likes.
 * What it tells as an error here is of no use to anybody; what GRPC_TRACE asks for is told on.
 */
export function quietGrpcLog(): void {
  setLogger({ error: () => undefined, info: console.error, debug: console.error });
}
