import { createHash } from 'node:crypto';
import { PARTITION_COUNT, partitionOfUser } from '../../redis/keys.js';
import { partitionOfSession } from '../token.js';
import type { SessionEvent } from './session-event.js';

const FINGERPRINT_BYTES = 8;

/** Whose sessions are watched. */
export interface SelectionRequest {
  readonly namespace: string;
  readonly userIds: readonly string[];
  readonly sessionIds: readonly string[];
  readonly all: boolean;
}

/** The sessions that a stream watches. */
export class Selection {
  readonly namespace: string;
  /** Ascending. */
  readonly partitions: readonly number[];
  /** Tells a choice from others, whatever the order it was made in. */
  readonly fingerprint: Buffer;
  private readonly users: ReadonlySet<string>;
  private readonly sessions: ReadonlySet<string>;
  private readonly all: boolean;

  constructor({ namespace, userIds, sessionIds, all }: SelectionRequest) {
    this.namespace = namespace;
    this.all = all;
    this.users = new Set(all ? [] : userIds);
    this.sessions = new Set(all ? [] : sessionIds);
    this.partitions = all ? Array.from({ length: PARTITION_COUNT }, (_, index) => index) : this.ownPartitions();
    const choice = [namespace, all, [...this.users].sort(), [...this.sessions].sort()];
    this.fingerprint = createHash('sha256').update(JSON.stringify(choice)).digest().subarray(0, FINGERPRINT_BYTES);
  }

  has({ userId, sessionId }: SessionEvent): boolean {
    return this.all || this.users.has(userId) || this.sessions.has(sessionId);
  }

  private ownPartitions(): number[] {
    const ofSessions = [...this.sessions].map((id) => partitionOfSession(id));
    const partitions = [...[...this.users].map(partitionOfUser), ...ofSessions].filter((p) => p !== undefined);
    return [...new Set(partitions)].sort((a, b) => a - b);
  }
}
