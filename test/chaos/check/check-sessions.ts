import type { CallRecord, History } from '../history.js';
import type { DeclaredLoss } from './declared-loss.js';
import type { Violations } from './findings.js';

export interface SessionFigures {
  readonly sessions: number;
  /** Acknowledged, not ended by anybody, and not there. */
  readonly lostSessions: number;
  /** Sessions that were there with older data than was acknowledged. */
  readonly lostUpdates: number;
}

/**
 * I1: a session whose creation was answered is found, with what was last acknowledged, until somebody ends it. One actor
 * alone acts on a session, one call after another, so its calls are replayed in their order.
 */
export function checkSessions(history: History, loss: DeclaredLoss, violations: Violations): SessionFigures {
  const sessions = new Map<string, KnownSession>();
  for (const call of history.calls()) {
    if (!call.op.startsWith('session.') || call.key === undefined) continue;
    const known = sessions.get(call.key) ?? new KnownSession();
    sessions.set(call.key, known);
    if (call.status === 'foreign') violations.add('I1', `session ${call.key} was answered with another one`);
    const gone = known.replay(call);
    if (gone === undefined) continue;
    if (gone.what === 'back') {
      violations.add('I1', `session ${call.key} was missing and is there again`);
    } else if (!loss.isAllowed(gone.acknowledgedMs, call.endMs)) {
      violations.add('I1', `session ${call.key}: ${gone.what} is gone, acknowledged at ${String(gone.acknowledgedMs)}`);
    }
  }
  const all = [...sessions.values()];
  return {
    sessions: all.length,
    lostSessions: all.filter(({ isLost }) => isLost).length,
    lostUpdates: all.filter(({ hasLostUpdates }) => hasLostUpdates).length,
  };
}

/** What was acknowledged and is gone: the session, its data, or its end. */
interface Gone {
  readonly what: 'the session' | 'an update' | 'its end' | 'back';
  readonly acknowledgedMs: number;
}

class KnownSession {
  isLost = false;
  hasLostUpdates = false;
  private alive: 'yes' | 'no' | 'maybe' = 'no';
  private createdMs = 0;
  private endedMs = 0;
  private last = 0;
  /** When each number was acknowledged. */
  private readonly acknowledged = new Map<number, number>();
  /** Written or not, now or later: nobody knows. */
  private readonly unknown = new Set<number>();

  replay(call: CallRecord): Gone | undefined {
    switch (call.op) {
      case 'session.create':
        // a retry of a creation answers the session as it was made
        if (this.createdMs === 0) {
          this.alive = 'yes';
          this.createdMs = call.endMs;
        }
        return undefined;
      case 'session.update':
        return this.replayUpdate(call);
      case 'session.destroy':
        return this.replayEnd(call);
      default:
        return call.code === 'OK' ? this.replayRead(call) : undefined;
    }
  }

  private replayUpdate({ code, status, n = 0, unknown, endMs }: CallRecord): Gone | undefined {
    if (unknown) this.unknown.add(n);
    if (code !== 'OK') return undefined;
    if (status !== 'done') return this.missing();
    this.acknowledged.set(n, endMs);
    this.last = n;
    return undefined;
  }

  private replayEnd({ code, status, unknown, endMs }: CallRecord): Gone | undefined {
    if (unknown && this.alive === 'yes') this.alive = 'maybe';
    if (code !== 'OK') return undefined;
    const gone = status === 'destroyed' ? undefined : this.missing();
    if (this.alive !== 'no') this.endedMs = endMs;
    this.alive = 'no';
    return gone;
  }

  private replayRead({ status, n = 0 }: CallRecord): Gone | undefined {
    if (status === 'foreign') return undefined;
    if (status !== 'found') return this.missing();
    if (this.isLost) return { what: 'back', acknowledgedMs: 0 };
    if (this.alive === 'no') {
      this.alive = 'yes';
      return { what: 'its end', acknowledgedMs: this.endedMs };
    }
    if (n === this.last || this.unknown.has(n)) return undefined;
    const lost = [...this.acknowledged].filter(([number]) => number > n).map(([, ms]) => ms);
    this.last = n;
    this.hasLostUpdates = true;
    return { what: 'an update', acknowledgedMs: Math.min(...lost) };
  }

  private missing(): Gone | undefined {
    if (this.alive !== 'yes') return undefined;
    this.alive = 'no';
    this.isLost = true;
    return { what: 'the session', acknowledgedMs: this.createdMs };
  }
}
