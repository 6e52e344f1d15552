import { parseArgs } from 'node:util';
import { CHECK_EXIT, checkHealth, type CheckOptions } from './grpc/check-health.js';

/** `shardkeep healthcheck`: asks a service once how it is, and tells by the exit status, as grpc_health_probe does. */

export const HEALTHCHECK_USAGE = `usage: shardkeep healthcheck [options]

Asks a service for its health. Exit status: 0 serving, 1 wrong options, 2 no connection, 3 the call failed (also for a
service that it does not know), 4 not serving.
  --address host:port | unix:/path   where; HEALTH_LISTEN, else GRPC_LISTEN of the environment, else 127.0.0.1:50051
  --service name                     what: "" (all of it), liveness, readiness, policies, or a service's full name
  --timeout-ms n                     for connecting and asking together (1000)
  --tls                              by TLS, and with the certificates of the system unless there are others:
  --tls-ca-file, --tls-cert-file, --tls-key-file path
  --tls-server-name name             whose certificate it has to be, where that is not the address
  --tls-no-verify                    whatever the certificate
`;

const DEFAULT_ADDRESS = '127.0.0.1:50051';
const DEFAULT_TIMEOUT_MS = 1_000;
const MAX_TIMEOUT_MS = 600_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs the command with its arguments; answers the exit status. */
export async function healthcheck(args: readonly string[], env: Environment): Promise<number> {
  let asked: { readonly address: string; readonly options: CheckOptions } | undefined;
  try {
    asked = read(args, env);
  } catch (error) {
    process.stderr.write(`shardkeep: ${error instanceof Error ? error.message : String(error)}\n${HEALTHCHECK_USAGE}`);
    return CHECK_EXIT.badArguments;
  }
  if (asked === undefined) {
    process.stdout.write(HEALTHCHECK_USAGE);
    return CHECK_EXIT.serving;
  }
  const { exit, text } = await checkHealth(asked.address, asked.options);
  (exit === CHECK_EXIT.serving ? process.stdout : process.stderr).write(`${text}\n`);
  return exit;
}

/** Undefined: help was asked for. Throws for what cannot be meant. */
function read(args: readonly string[], env: Environment) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      address: text,
      service: text,
      'timeout-ms': text,
      tls: flag,
      'tls-ca-file': text,
      'tls-cert-file': text,
      'tls-key-file': text,
      'tls-server-name': text,
      'tls-no-verify': flag,
      help: flag,
    },
  });
  if (values.help) return undefined;
  const own = ownAddress(env);
  const address = values.address ?? own.address;
  const colon = address.lastIndexOf(':');
  const port = address.slice(colon + 1);
  if (!address.startsWith('unix:') && (colon < 1 || !/^\d{1,5}$/.test(port) || Number(port) > 65_535)) {
    throw new Error(`${address} is neither host:port nor unix:/path`);
  }
  const timeoutMs = Number(values['timeout-ms'] ?? DEFAULT_TIMEOUT_MS);
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS) {
    throw new Error(`--timeout-ms must be a whole number from 1 to ${String(MAX_TIMEOUT_MS)}`);
  }
  const files = {
    caFile: values['tls-ca-file'],
    certFile: values['tls-cert-file'],
    keyFile: values['tls-key-file'],
    serverName: values['tls-server-name'],
  };
  const isSaid = values.tls || values['tls-no-verify'];
  if (!isSaid && Object.values(files).some((value) => value !== undefined)) throw new Error('--tls-… needs --tls');
  if ((files.certFile === undefined) !== (files.keyFile === undefined)) {
    throw new Error('--tls-cert-file and --tls-key-file go together');
  }
  if (values['tls-no-verify'] && (files.caFile !== undefined || files.serverName !== undefined)) {
    throw new Error('--tls-no-verify contradicts --tls-ca-file and --tls-server-name');
  }
  // the listener of this very environment, on this machine: its certificate is for the name that others call it by
  const isOwnTls = values.address === undefined && own.tls && !isSaid;
  const tls = isSaid || isOwnTls ? { ...files, verify: !values['tls-no-verify'] && !isOwnTls } : undefined;
  return { address, options: { service: values.service ?? '', timeoutMs, tls } };
}

/** Where the service listens that has this environment; what listens everywhere listens on this machine. */
function ownAddress(env: Environment): { readonly address: string; readonly tls: boolean } {
  const health = env.HEALTH_LISTEN ?? '';
  const listen = health === '' ? (env.GRPC_LISTEN ?? '') : health;
  const address = (listen === '' ? DEFAULT_ADDRESS : listen)
    .replace(/^0\.0\.0\.0:/, '127.0.0.1:')
    .replace(/^\[::\]:/, '[::1]:');
  return { address, tls: health === '' && (env.TLS_CERT_FILE ?? '') !== '' };
}
