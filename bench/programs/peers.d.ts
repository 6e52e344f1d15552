/**
 * What is used of the peers. They are installed for `make bench` alone, so types and lint must do without them; redlock's
 * own types do not resolve under NodeNext at all.
 */

declare module 'redlock' {
  interface ScriptClient {
    evalsha(sha1: string, keyCount: number, args: readonly (string | number)[]): Promise<unknown>;
    eval(script: string, keyCount: number, args: readonly (string | number)[]): Promise<unknown>;
  }
  interface Lock {
    release(): Promise<unknown>;
  }
  export class ExecutionError extends Error {}
  export default class Redlock {
    constructor(clients: Iterable<ScriptClient>, settings: { readonly retryCount: number });
    on(event: 'error', listener: (error: Error) => void): this;
    acquire(resources: readonly string[], durationMs: number): Promise<Lock>;
  }
}

declare module 'rate-limiter-flexible' {
  export class RateLimiterRes {
    readonly remainingPoints: number;
  }
  export class RateLimiterRedis {
    constructor(options: {
      readonly storeClient: unknown;
      readonly useRedisPackage: boolean;
      readonly keyPrefix: string;
      readonly points: number;
      readonly duration: number;
      readonly inMemoryBlockOnConsumed?: number;
    });
    consume(key: string, points: number): Promise<RateLimiterRes>;
  }
}

declare module 'connect-redis' {
  export class RedisStore {
    constructor(options: { readonly client: unknown; readonly prefix: string; readonly ttl: number });
    get(sessionId: string): Promise<unknown>;
    set(sessionId: string, session: unknown): Promise<void>;
    touch(sessionId: string, session: unknown): Promise<void>;
  }
}
