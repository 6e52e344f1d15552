import { existsSync, readFileSync } from 'node:fs';

/** Serves in this process, so that signals reach the service, and says how to try it once it is ready. */
if (existsSync('.env')) process.loadEnvFile('.env');
await import('../dist/main.js');

const { DEFAULTS } = await import('../dist/config/defaults.js');
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const given = process.env.GRPC_LISTEN;
const listen = given || DEFAULTS.grpcListen;
process.stdout.write(
  [
    `shardkeep ${version}: cache, sessions, locks and rate limits of a multiplayer game, over gRPC on Redis`,
    `listening on ${listen} (gRPC without TLS); Ctrl-C drains and stops`,
    `try it in another terminal: ${given ? `GRPC_LISTEN=${given} ` : ''}make try`,
    '',
  ].join('\n'),
);
