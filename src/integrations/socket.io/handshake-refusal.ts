import type { SessionEndNotice } from './socket-types.js';

/** Why a handshake was refused. */
export type RefusalCode =
  /** It shows no session. */
  | 'missing'
  /** What it shows opens none: there never was one, or it ended more than an hour ago. */
  | 'unknown'
  | 'expired'
  | 'revoked'
  /** It comes from another client than the session was made for. */
  | 'binding'
  /** The user proved who they are too long ago. */
  | 'step_up'
  /** Nobody can tell now: try again later. */
  | 'unavailable';

/** `err.data` of the client's `connect_error`. */
export interface RefusalData {
  readonly code: RefusalCode;
  /** With `unavailable`: when to connect again, which a client that was refused does not do by itself. */
  readonly retryAfterMs?: number;
  /** With `expired` and `revoked`: how the session ended. */
  readonly end?: SessionEndNotice;
}

/** What a refused handshake is given to Socket.IO as. */
export class HandshakeRefusal extends Error {
  override readonly name = 'HandshakeRefusal';

  constructor(readonly data: RefusalData) {
    super(`no session: ${data.code}`);
  }
}

const RETRY_AFTER_MS = 1_000;

/** Nobody can tell now. A crowd that was refused at once is spread over as long again. */
export function unavailable(retryAfterMs = RETRY_AFTER_MS): HandshakeRefusal {
  return new HandshakeRefusal({
    code: 'unavailable',
    retryAfterMs: Math.ceil(Math.max(retryAfterMs, RETRY_AFTER_MS) * (1 + Math.random())),
  });
}

/** The session has ended. */
export function refusedByEnd({ cause, reason, message }: SessionEndNotice): HandshakeRefusal {
  const code = cause.startsWith('expired') ? 'expired' : 'revoked';
  return new HandshakeRefusal({ code, end: { cause, reason, message } });
}
