import { nowMs } from '../history.js';
import { Actor, type Role } from './actor.js';
import type { FencedStore } from './fenced-store.js';

export interface LockWork {
  readonly resources: readonly string[];
  readonly store: FencedStore;
}

/** How often a holder writes to the store that knows fencing tokens. */
export const WRITE_EVERY_MS = 15;

/** A lock that an actor holds, or thinks it does. */
export interface Hold {
  readonly resource: string;
  readonly token: number;
  /** This hold of this actor; no other has its name. */
  readonly holder: string;
  readonly startMs: number;
}

/** What all have in common that take locks others want too, and write while they believe to hold them. */
export abstract class HoldingActor extends Actor {
  private holds = 0;

  constructor(
    role: Role,
    private readonly work: LockWork,
  ) {
    super(role);
  }

  protected resource(): string {
    return this.random.pick(this.work.resources);
  }

  /** From now on it believes to hold it. */
  protected granted(resource: string, token: number): Hold {
    return { resource, token, holder: `${this.name}-${String(this.holds++)}`, startMs: nowMs() };
  }

  protected write({ resource, token, holder }: Hold): void {
    this.work.store.write(resource, token, holder);
  }

  /** It believed so until then. */
  protected believedUntil(endMs: number, { resource, token, startMs }: Hold): void {
    this.recorder.file.add({ kind: 'held', key: resource, token, startMs, endMs });
  }
}
