import { optionsIn } from './arguments.js';
import { NotFoundError } from './errors.js';
import { ServingStatus, type HealthService } from './rpc/health-service.js';
import { MappedStream } from './rpc/mapped-stream.js';
import type { ServiceClient } from './rpc/service-client.js';
import { STREAM_OPTIONS, type StreamOptions } from './rpc/stream-channel.js';
import { CALL_OPTIONS, type CallOptions } from './transport/method.js';

export type HealthStatus = 'serving' | 'not_serving' | 'unknown';

/** Whether the service, and the Redis behind it, can serve. */
export class Health {
  constructor(private readonly rpc: ServiceClient<typeof HealthService>) {}

  /**
   * `service`: '' (as a load balancer asks: not draining, and Redis answers), `liveness`, `readiness`, or a service's full
   * name, as `shardkeep.session.v1.SessionService`. `unknown` where the service does not know that name. Throws
   * UnavailableError where it cannot be reached.
   */
  async check(service = '', options: CallOptions = {}): Promise<HealthStatus> {
    optionsIn(options, CALL_OPTIONS);
    try {
      const { status } = await this.rpc.check({ service }, options);
      return healthOf(status);
    } catch (error) {
      if (error instanceof NotFoundError) return 'unknown';
      throw error;
    }
  }

  /** The state now and after each change; ends with UnavailableError when the connection does. */
  watch(service = '', options: StreamOptions = {}): AsyncIterableIterator<HealthStatus, undefined> {
    optionsIn(options, STREAM_OPTIONS);
    return new MappedStream(
      () => this.rpc.watch({ service }, options),
      ({ status }) => healthOf(status),
    );
  }
}

function healthOf(status: number): HealthStatus {
  if (status === ServingStatus.SERVING) return 'serving';
  return status === ServingStatus.NOT_SERVING ? 'not_serving' : 'unknown';
}
