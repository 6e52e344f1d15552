import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { Authority } from '../support/certificates.js';
import { freePort } from '../support/redis-server.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../support/service.js';
import { portOf } from '../support/tcp-proxy.js';

/** `shardkeep healthcheck` by its exit status. */

const SERVING = 0;
const BAD_ARGUMENTS = 1;
const NOT_CONNECTED = 2;
const RPC_FAILED = 3;
const NOT_SERVING = 4;

/** On a busy machine it takes its time to start and to connect. */
const PATIENT = ['--timeout-ms', '30000'];

const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-check-'));
const socket = `unix:${folder}/api.sock`;
const authority = new Authority();
const own = authority.issue('shardkeep');
const stranger = new Authority();
const servers: Server[] = [];
let service: TestService;
let plain = '';
let tls = '';
let mutual = '';

function check(args: readonly string[], env: Environment = {}): Promise<number> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ['dist/cli.js', 'healthcheck', ...args], {
      env: { PATH: process.env.PATH, ...env },
    });
    child.on('close', (code) => {
      resolve(code ?? -1);
    });
  });
}

async function serve(credentials: ServerCredentials): Promise<string> {
  const server = new Server();
  new HealthImplementation({ '': 'SERVING', down: 'NOT_SERVING' }).addToServer(server);
  servers.push(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return `127.0.0.1:${String(port)}`;
}

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), GRPC_LISTEN: socket });
  plain = await serve(ServerCredentials.createInsecure());
  const pair = [{ private_key: own.key, cert_chain: own.cert }];
  tls = await serve(ServerCredentials.createSsl(null, pair));
  mutual = await serve(ServerCredentials.createSsl(authority.cert, pair, true));
});
afterAll(async () => {
  for (const server of servers) server.forceShutdown();
  await service.stop();
  authority.remove();
  stranger.remove();
  rmSync(folder, { recursive: true, force: true });
});

test('a service is asked at its address, or where this environment says that it listens', async () => {
  const [, port = ''] = plain.split(':');
  const exits = await Promise.all([
    check([...PATIENT, '--address', socket]),
    check([...PATIENT, '--address', socket, '--service', 'readiness']),
    check(PATIENT, { GRPC_LISTEN: socket }),
    check(PATIENT, { GRPC_LISTEN: '127.0.0.1:1', HEALTH_LISTEN: plain }),
    check(PATIENT, { GRPC_LISTEN: `0.0.0.0:${port}` }),
  ]);
  expect(exits).toEqual([SERVING, SERVING, SERVING, SERVING, SERVING]);
});

test('a service that does not serve, and one that it does not have', async () => {
  const exits = await Promise.all([
    check([...PATIENT, '--address', plain, '--service', 'down']),
    check([...PATIENT, '--address', plain, '--service', 'shardkeep.guild.v1.GuildService']),
  ]);
  expect(exits).toEqual([NOT_SERVING, RPC_FAILED]);
});

test('a service that is not there, is no gRPC, or says nothing', async () => {
  const silent = createServer((connection) => connection.on('error', () => undefined));
  const silentAddress = `127.0.0.1:${String(await portOf(silent))}`;
  const exits = await Promise.all([
    check([...PATIENT, '--address', `127.0.0.1:${String(await freePort())}`]),
    check([...PATIENT, '--address', `unix:${folder}/none.sock`]),
    check(['--timeout-ms', '300', '--address', silentAddress]),
  ]);
  silent.close();
  // one that connects and then says nothing fails the call; one that never greets is no connection
  expect(exits.slice(0, 2)).toEqual([NOT_CONNECTED, NOT_CONNECTED]);
  expect([NOT_CONNECTED, RPC_FAILED]).toContain(exits[2]);
});

test('by TLS, with the right certificates', async () => {
  const name = ['--tls-server-name', 'localhost'];
  const ca = ['--tls', '--tls-ca-file', authority.certFile, ...name];
  const client = ['--tls-cert-file', own.certFile, '--tls-key-file', own.keyFile];
  const exits = await Promise.all([
    check([...PATIENT, '--address', tls, ...ca]),
    check([...PATIENT, '--address', tls, '--tls-no-verify']),
    check([...PATIENT, '--address', mutual, ...ca, ...client]),
    // a listener of this environment is asked whatever its certificate
    check(PATIENT, { GRPC_LISTEN: tls, TLS_CERT_FILE: own.certFile }),
    check([...PATIENT, '--address', tls, '--tls', '--tls-ca-file', stranger.certFile, ...name]),
    check([
      ...PATIENT,
      '--address',
      tls,
      '--tls',
      '--tls-ca-file',
      authority.certFile,
      '--tls-server-name',
      'elsewhere',
    ]),
    check([...PATIENT, '--address', tls]),
  ]);
  expect(exits.slice(0, 4)).toEqual([SERVING, SERVING, SERVING, SERVING]);
  for (const exit of exits.slice(4)) expect([NOT_CONNECTED, RPC_FAILED]).toContain(exit);
});

test('arguments that cannot be meant', async () => {
  const exits = await Promise.all(
    [
      ['--address', 'nowhere'],
      ['--address', '127.0.0.1:70000'],
      ['--timeout-ms', '0'],
      ['--timeout-ms', '1s'],
      ['--port', '1'],
      ['one', 'too', 'many'],
      ['--tls-ca-file', 'x.pem'],
      ['--tls', '--tls-cert-file', 'x.pem'],
      ['--tls-no-verify', '--tls-ca-file', 'x.pem'],
      ['--tls', '--tls-ca-file', `${folder}/none.pem`],
    ].map((args) => check(args)),
  );
  expect(exits).toEqual(exits.map(() => BAD_ARGUMENTS));
  expect(await check(['--help'])).toBe(0);
});
