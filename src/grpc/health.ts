import type { handleServerStreamingCall, Server, ServerWritableStream } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Readiness } from '../redis/readiness.js';

type Watch = ServerWritableStream<unknown, unknown>;

export interface HealthOptions {
  /** Full name of each service, and the Redis it cannot work without. */
  readonly services: Readonly<Record<string, Readiness>>;
  /** True: readiness follows only this process. */
  readonly sidecar: boolean;
  /** How long Redis may be away before readiness says so. */
  readonly readinessGraceMs: number;
}

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
        const watch = handlers.watch as unknown as (call: Watch) => void;
        const trackedWatch: handleServerStreamingCall<unknown, unknown> = (call) => {
          this.watches.add(call);
          call.on('cancelled', () => this.watches.delete(call));
          watch(call);
        };
        server.addService(definition, { ...handlers, watch: trackedWatch });
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
