#!/usr/bin/env node
import { createHash, randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ownVersion } from './version.js';

/** The command `shardkeep`: the service, which is set by environment variables alone, and what goes with it. */

/** sysexits.h EX_USAGE. */
const EXIT_USAGE = 64;
const USAGE = `usage: shardkeep [--help | --version]
       shardkeep token
       shardkeep healthcheck [--help] [options]

Serves cache, sessions, locks and rate limits over gRPC until SIGTERM or Ctrl-C. Settings are environment variables, all
optional; README.md names them. The usual ones:
  GRPC_LISTEN     host:port or unix:/path (127.0.0.1:50051)
  REDIS_URL       the Redis behind it; without one it runs a redis-server or valkey-server of its own
  POLICIES_FILE   session profiles and rate policies, YAML
  CREDENTIALS_FILE  who may call, YAML
  LOG_LEVEL       fatal to trace, silent (info)

shardkeep token prints a new token, and the line for the credentials file that lets its bearer in. shardkeep healthcheck asks
a service whether it serves, and tells by its exit status.
`;

/** Bytes of a token, all of them random. */
const TOKEN_BYTES = 32;

function optionsOrExit(): { readonly help: boolean; readonly version: boolean; readonly command: string | undefined } {
  try {
    const options = {
      help: { type: 'boolean', default: false },
      version: { type: 'boolean', default: false },
    } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const [command, ...rest] = positionals;
    if ((command !== undefined && command !== 'token') || rest.length > 0) throw new Error('no such command');
    return { ...values, command };
  } catch (error) {
    process.stderr.write(`shardkeep: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    process.exit(EXIT_USAGE);
  }
}

function newToken(): string {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  const hash = createHash('sha256').update(token).digest('hex');
  return `${token}\n- sha256: "${hash}"\n`;
}

async function serveOrTell(): Promise<void> {
  const { help, version, command } = optionsOrExit();
  if (help) process.stdout.write(USAGE);
  else if (version) process.stdout.write(`${ownVersion()}\n`);
  else if (command === 'token') process.stdout.write(newToken());
  else await import('./main.js');
}

const [first, ...others] = process.argv.slice(2);
if (first === 'healthcheck') {
  // a probe comes often, and needs little of what the service needs
  const { healthcheck } = await import('./healthcheck.js');
  process.exitCode = await healthcheck(others, process.env);
} else await serveOrTell();
