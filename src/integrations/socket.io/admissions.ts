import type { SessionEndNotice } from './notices.js';

/** A handshake under way, and what was told of its session meanwhile. */
export interface Admission {
  readonly sessionId: string;
  end: SessionEndNotice | undefined;
  /** How often events may have been missed since it began: an answer from before does not count. */
  doubts: number;
}

/**
 * The handshakes under way. A session that ends behind the service's answer and before its socket is known would otherwise be
 * told of to nobody.
 */
export class Admissions {
  private readonly bySession = new Map<string, Set<Admission>>();

  get size(): number {
    return [...this.bySession.values()].reduce((sum, { size }) => sum + size, 0);
  }

  begin(sessionId: string): Admission {
    const admission: Admission = { sessionId, end: undefined, doubts: 0 };
    const ofSession = this.bySession.get(sessionId);
    if (ofSession === undefined) this.bySession.set(sessionId, new Set([admission]));
    else ofSession.add(admission);
    return admission;
  }

  finish(admission: Admission): void {
    const ofSession = this.bySession.get(admission.sessionId);
    ofSession?.delete(admission);
    if (ofSession?.size === 0) this.bySession.delete(admission.sessionId);
  }

  end(sessionId: string, end: SessionEndNotice): void {
    for (const admission of this.bySession.get(sessionId) ?? []) admission.end = end;
  }

  doubtAll(): void {
    for (const ofSession of this.bySession.values()) {
      for (const admission of ofSession) admission.doubts++;
    }
  }
}
