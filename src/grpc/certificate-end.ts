import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** The wall clock may be set meanwhile, and a timer does not see that. */
const MAX_SLEEP_MS = 60_000;

/**
 * Calls back when the certificate that the other side showed runs out: it was looked at when the connection began, and with a
 * resumed TLS session not even then. Answers how to give that up.
 */
export function onCertificateEnd(socket: Socket, onEnd: () => void): () => void {
  const endsAtMs = certificateEndOf(socket);
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    const leftMs = endsAtMs - Date.now();
    if (leftMs <= 0) onEnd();
    else timer = setTimeout(look, Math.min(leftMs, MAX_SLEEP_MS)).unref();
  };
  if (Number.isFinite(endsAtMs)) timer = setTimeout(look, 0).unref();
  return () => {
    clearTimeout(timer);
  };
}

/** Unix ms; infinite where none was shown. */
function certificateEndOf(socket: Socket): number {
  if (!(socket instanceof TLSSocket)) return Infinity;
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined ? Infinity : Date.parse(certificate.validTo);
}
