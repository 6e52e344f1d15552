import type { Session } from '../../client/index.js';
import { VIEW_NAMES } from './metadata-names.js';

/** A session as it is shown to the user it belongs to; times of day in ISO 8601. */
export interface SessionView {
  readonly sessionId: string;
  readonly userId: string;
  readonly characterId: string | undefined;
  readonly createdAt: string;
  readonly lastActive: string;
  readonly expiresAt: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export function sessionView(session: Session): SessionView {
  const { sessionId, userId, characterId, createdAtMs, lastActiveMs, expiresAtMs, metadata } = session;
  return {
    sessionId,
    userId,
    characterId,
    createdAt: new Date(createdAtMs).toISOString(),
    lastActive: new Date(lastActiveMs).toISOString(),
    expiresAt: new Date(expiresAtMs).toISOString(),
    metadata: Object.fromEntries(
      Object.entries(metadata).map(([name, value]) => [VIEW_NAMES.get(name) ?? name, value]),
    ),
  };
}
