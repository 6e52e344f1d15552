#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { ownVersion } from './version.js';

/** The command `shardkeep`: the service, which is set by environment variables alone, and a look at one. */

/** sysexits.h EX_USAGE. */
const EXIT_USAGE = 64;
const USAGE = `usage: shardkeep [--help | --version]
       shardkeep healthcheck [--help] [options]

Serves cache, sessions, locks and rate limits over gRPC until SIGTERM or Ctrl-C. Settings are environment variables, all
optional; README.md names them. The usual ones:
  GRPC_LISTEN     host:port or unix:/path (127.0.0.1:50051)
  REDIS_URL       the Redis behind it; without one it runs a redis-server or valkey-server of its own
  POLICIES_FILE   session profiles and rate policies, YAML
  LOG_LEVEL       fatal to trace, silent (info)
`;

function optionsOrExit(): { readonly help: boolean; readonly version: boolean } {
  try {
    const options = {
      help: { type: 'boolean', default: false },
      version: { type: 'boolean', default: false },
    } as const;
    return parseArgs({ options }).values;
  } catch (error) {
    process.stderr.write(`shardkeep: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    process.exit(EXIT_USAGE);
  }
}

async function serveOrTell(): Promise<void> {
  const { help, version } = optionsOrExit();
  if (help) process.stdout.write(USAGE);
  else if (version) process.stdout.write(`${ownVersion()}\n`);
  else await import('./main.js');
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'healthcheck') {
  // a probe comes often, and needs little of what the service needs
  const { healthcheck } = await import('./healthcheck.js');
  process.exitCode = await healthcheck(rest, process.env);
} else await serveOrTell();
