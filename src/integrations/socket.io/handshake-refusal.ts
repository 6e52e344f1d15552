import type { RefusalData, SessionEndNotice } from './notices.js';

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
