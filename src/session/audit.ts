import type { Logger } from 'pino';
import { END_CAUSES, type EndCause } from './scripts.js';

/**
 * What became of sessions because of this process. Handles and names of who and why; never a token, a secret, a metadata
 * value or what is told to the player.
 */
export type SessionAuditEvent =
  | {
      readonly event: 'created';
      readonly sessionId: string;
      readonly userId: string;
      readonly profile: string;
      readonly evictedSessionIds: readonly string[];
      /** '': none. */
      readonly replacedSessionId: string;
    }
  | {
      readonly event: 'login_refused';
      readonly userId: string;
      readonly profile: string;
      readonly why: 'limit' | 'blocked' | 'revoked' | 'spent';
    }
  | {
      readonly event: 'rotated';
      readonly sessionId: string;
      readonly userId: string;
      readonly reauthenticated: boolean;
    }
  | {
      readonly event: 'theft';
      readonly sessionId: string;
      /** Which token was presented: `previous` or `older`. */
      readonly reason: string;
    }
  | {
      readonly event: 'destroyed';
      readonly sessionId: string;
      readonly reason: string;
      /** 0: it has ended; else its end was announced. */
      readonly effectiveInMs: number;
    }
  | {
      readonly event: 'user_destroyed';
      readonly userId: string;
      readonly count: number;
      readonly reason: string;
      /** '': none. */
      readonly keptSessionId: string;
      /** 0: not blocked by this call. */
      readonly blockForMs: number;
      /** 0: they have ended; else their end was announced. */
      readonly effectiveInMs: number;
    }
  /** `begun`: logins proved before are refused, and all sessions marked. `ended`: the call is over, `done` or cut off. */
  | { readonly event: 'all_destroyed'; readonly step: 'begun'; readonly reason: string; readonly revokedAtMs: number }
  | {
      readonly event: 'all_destroyed';
      readonly step: 'ended';
      readonly reason: string;
      readonly count: number;
      readonly done: boolean;
    }
  /** By the sweeper, or by CleanupExpiredSessions. */
  | {
      readonly event: 'swept';
      /** Of those that ran out. */
      readonly causes: Readonly<Partial<Record<EndCause, number>>>;
      readonly sessionIds: readonly string[];
      /** How many a DestroyAllSessions that was cut off had left. */
      readonly destroyed: number;
    }
  | {
      readonly event: 'character_taken';
      readonly userId: string;
      readonly characterId: string;
      readonly sessionId: string;
      readonly takenFromSessionId: string;
    };

/** Of those in a list, so many are named. */
const MAX_IDS = 100;

/** Writes down what became of sessions, and counts it. The one place that handlers tell. */
export class SessionAudit {
  private created = 0;
  private readonly endedBy: Record<EndCause, number>;
  private readonly logger: Logger | undefined;

  /** `logger` undefined: nothing is logged, and still counted. */
  constructor(logger: Logger | undefined) {
    this.logger = logger?.child({ audit: true });
    this.endedBy = Object.fromEntries(END_CAUSES.map((cause) => [cause, 0])) as Record<EndCause, number>;
  }

  get createdCount(): number {
    return this.created;
  }

  get ended(): Readonly<Record<EndCause, number>> {
    return this.endedBy;
  }

  /** `by`: whose call it was; undefined: the process did it by itself. */
  record(event: SessionAuditEvent, by?: { readonly peer: string }): void {
    this.count(event);
    if (this.logger === undefined) return;
    const named = event.event === 'swept' ? { ...event, sessionIds: event.sessionIds.slice(0, MAX_IDS) } : event;
    this.logger.info(by === undefined ? named : { ...named, peer: by.peer }, 'session audit');
  }

  private count(event: SessionAuditEvent): void {
    switch (event.event) {
      case 'created':
        this.created++;
        this.endedBy.evicted += event.evictedSessionIds.length;
        if (event.replacedSessionId !== '') this.endedBy.destroyed++;
        break;
      case 'theft':
        this.endedBy.theft++;
        break;
      case 'destroyed':
        if (event.effectiveInMs === 0) this.endedBy.destroyed++;
        break;
      case 'user_destroyed':
        if (event.effectiveInMs === 0) this.endedBy.destroyed += event.count;
        break;
      case 'all_destroyed':
        if (event.step === 'ended') this.endedBy.destroyed += event.count;
        break;
      case 'swept':
        for (const cause of END_CAUSES) this.endedBy[cause] += event.causes[cause] ?? 0;
        this.endedBy.destroyed += event.destroyed;
        break;
      case 'login_refused':
      case 'rotated':
      case 'character_taken':
    }
  }
}
