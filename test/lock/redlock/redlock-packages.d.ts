/** What the tests use of both releases of `redlock`; neither brings types that resolve here. */

declare module 'redlock4' {
  export interface Node {
    evalsha(sha1: string, args: readonly unknown[], callback: (error: unknown, reply?: unknown) => void): void;
    eval(args: readonly unknown[], callback: (error: unknown, reply?: unknown) => void): void;
  }
  export class Lock {
    readonly value: string;
    readonly resource: string | readonly string[];
    extend(ttlMs: number): Promise<Lock>;
    unlock(): Promise<void>;
  }
  export default class Redlock {
    static readonly LockError: new () => Error;
    constructor(nodes: readonly Node[], options: { readonly retryCount: number });
    on(event: 'clientError', listener: (error: unknown) => void): void;
    lock(resources: readonly string[], ttlMs: number): Promise<Lock>;
  }
}

declare module 'redlock5' {
  export interface Node {
    evalsha(sha1: string, keyCount: number, args: readonly unknown[]): Promise<unknown>;
    eval(source: string, keyCount: number, args: readonly unknown[]): Promise<unknown>;
    quit(): Promise<void>;
  }
  export interface Lock {
    readonly value: string;
    readonly expiration: number;
    extend(ttlMs: number): Promise<Lock>;
    release(): Promise<unknown>;
  }
  export class ExecutionError extends Error {}
  export default class Redlock {
    constructor(nodes: readonly Node[], settings: { readonly retryCount: number });
    acquire(resources: readonly string[], ttlMs: number): Promise<Lock>;
  }
}
