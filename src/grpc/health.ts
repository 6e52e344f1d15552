import {
  status as Code,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Server,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Readiness } from '../redis/readiness.js';
import { connectionOf } from './connection.js';

interface HealthCheckRequest {
  readonly service: string;
}

type Watch = ServerWritableStream<HealthCheckRequest, unknown>;
type WatchHandler = handleServerStreamingCall<HealthCheckRequest, unknown>;
type CheckHandler = handleUnaryCall<HealthCheckRequest, unknown>;

export interface HealthOptions {
  /** Full name of each service, and the Redis it cannot work without. */
  readonly services: Readonly<Record<string, Readiness>>;
  /** True: readiness follows only this process. */
  readonly sidecar: boolean;
  /** How long Redis may be away before readiness says so. */
  readonly readinessGraceMs: number;
}

/** Nobody has to say who it is here. A client needs one for each service that it uses. */
const MAX_WATCHES_OF_CONNECTION = 32;
/** Of one listener. */
const MAX_WATCHES = 8_192;

// what was asked for is not repeated: it may be as long as a message, and no header can be
const UNKNOWN_SERVICE = { code: Code.NOT_FOUND, details: 'no service has this name' };
const TOO_MANY_WATCHES = Object.assign(new Error('too many watches'), {
  code: Code.RESOURCE_EXHAUSTED,
  details: 'too many watches',
});

/**
 * grpc.health.v1.Health of this process:
 * `liveness` (the process; never Redis), `readiness` and "" (not draining; follows Redis, unless a sidecar), each service
 * by its full name (its Redis answers now) and `policies` (those in force are the policies file's; nothing else follows it:
 * the service goes on with those it has).
 */
export class Health {
  /** By what a caller asks for; "" is left out, since it says what `readiness` says. */
  readonly serving = new Map([['liveness', true]]);
  private readonly implementation = new HealthImplementation({ liveness: 'SERVING' });
  private readonly redises: readonly Readiness[];
  private readonly watches = new Set<Watch>();
  private graceTimer: NodeJS.Timeout | undefined;
  private redisCounts = false;
  private draining = false;
  private policiesCurrent = true;

  constructor(private readonly options: HealthOptions) {
    this.redises = [...new Set(Object.values(options.services))];
    for (const redis of this.redises) {
      redis.onStateChange(() => {
        this.update();
      });
    }
    this.update();
  }

  addTo(server: Server): void {
    this.implementation.addToServer({
      addService: (definition, handlers) => {
        // the package leaves its handlers untyped
        const check = handlers.check as unknown as CheckHandler;
        const watch = handlers.watch as unknown as WatchHandler;
        const knownCheck: CheckHandler = (call, callback) => {
          if (this.isKnown(call.request.service)) check(call, callback);
          else callback(UNKNOWN_SERVICE);
        };
        server.addService(definition, { ...handlers, check: knownCheck, watch: this.bounded(watch) });
      },
    });
  }

  /** Says NOT_SERVING for everything but liveness, for good, and ends the streams of watchers: they would hold a drain. */
  drain(): void {
    this.draining = true;
    clearTimeout(this.graceTimer);
    this.update();
    for (const watch of this.watches) watch.end();
  }

  get isDraining(): boolean {
    return this.draining;
  }

  setPoliciesCurrent(current: boolean): void {
    this.policiesCurrent = current;
    this.update();
  }

  /** No name becomes one later. */
  private isKnown(service: string): boolean {
    return service === '' || this.serving.has(service);
  }

  /** The package forgets no name that was ever watched: it gets to see only those that there are. */
  private bounded(watch: WatchHandler): WatchHandler {
    const open = new Set<Watch>();
    return (call) => {
      const connection = connectionOf(call.metadata);
      if (open.size >= MAX_WATCHES || (connection?.healthWatches ?? 0) >= MAX_WATCHES_OF_CONNECTION) {
        call.emit('error', TOO_MANY_WATCHES);
        return;
      }
      open.add(call);
      this.watches.add(call);
      if (connection !== undefined) connection.healthWatches++;
      call.on('cancelled', () => {
        open.delete(call);
        this.watches.delete(call);
        if (connection !== undefined) connection.healthWatches--;
      });
      if (this.isKnown(call.request.service)) watch(call);
      else call.write({ status: 'SERVICE_UNKNOWN' });
    };
  }

  private update(): void {
    for (const [service, redis] of Object.entries(this.options.services)) {
      this.set(service, redis.isReady && !this.draining);
    }
    this.set('policies', this.policiesCurrent && !this.draining);
    this.updateReadiness();
  }

  /** Ready as soon as every Redis is; not ready only after one was away for the grace time. */
  private updateReadiness(): void {
    const allReady = this.redises.every(({ isReady }) => isReady);
    if (allReady) {
      this.redisCounts = true;
      clearTimeout(this.graceTimer);
      this.graceTimer = undefined;
    } else if (this.redisCounts && this.graceTimer === undefined && !this.draining) {
      this.graceTimer = setTimeout(() => {
        this.graceTimer = undefined;
        this.redisCounts = false;
        this.updateReadiness();
      }, this.options.readinessGraceMs);
      this.graceTimer.unref();
    }
    const ready = !this.draining && (this.options.sidecar || this.redisCounts);
    this.set('readiness', ready);
    this.set('', ready);
  }

  private set(service: string, serving: boolean): void {
    this.implementation.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING');
    if (service !== '') this.serving.set(service, serving);
  }
}
