import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';

/** Files of TLS to Redis, in PEM. */
export interface TlsFiles {
  /** Whom to trust; undefined: the authorities that Node trusts. */
  readonly caFile?: string;
  /** What this service shows of itself; both or none. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** The name that Redis's certificate must be for; undefined: the host that is connected to. */
  readonly serverName?: string;
}

/** Throws what is wrong with the files, which names them and nothing that is in them. */
function read({ caFile, certFile, keyFile }: TlsFiles): readonly (string | undefined)[] {
  return [caFile, certFile, keyFile].map((file) => (file === undefined ? undefined : readFileSync(file, 'utf8')));
}

/**
 * What a TLS connection is made with, from the files as they are at each handshake: rotated ones are in force with the next
 * connection. node-redis keeps its options for as long as a client lives, and node asks for `context` whenever it connects.
 * Reading it throws where the files cannot be used.
 */
export function secureContextOf(files: TlsFiles): SecureContext {
  let contents: readonly (string | undefined)[] = [];
  let current: SecureContext | undefined;
  const contextNow = (): SecureContext => {
    const latest = read(files);
    if (current !== undefined && latest.every((text, index) => text === contents[index])) return current;
    const [ca, cert, key] = latest;
    current = createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
    contents = latest;
    return current;
  };
  return {
    get context(): unknown {
      return contextNow().context as unknown;
    },
  };
}
