import { EventEmitter, once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startAdminServer } from '../../src/admin/server.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { askSidePort } from '../support/side-port.js';

/** What the HTTP side port makes of what nobody should send. */

let service: ServiceProcess;
beforeAll(async () => {
  service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), ADMIN_LISTEN: '127.0.0.1:0' });
});
afterAll(killServiceProcesses);

async function open(): Promise<Socket> {
  const { address } = await service.log('admin port listening');
  const [host = '', port = ''] = String(address).split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** What comes back until the connection is closed. */
async function say(words: string): Promise<string> {
  const socket = await open();
  let said = '';
  socket.on('data', (chunk) => {
    said += chunk.toString('latin1');
  });
  socket.write(words);
  await once(socket, 'close');
  return said;
}

const serves = async (): Promise<boolean> => (await askSidePort(service, '/health/live')).status === 200;

test.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])('%s is refused, on every path', async (method) => {
  for (const path of ['/health', '/metrics']) {
    const { status, headers } = await askSidePort(service, path, method);
    expect([status, headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  }
});

test.each(['/', '/health/', '/healthz', '/health/../metrics/x', '/metrics/x', '/constructor', '/__proto__', '/%00'])(
  '%s is not found',
  async (path) => {
    expect((await askSidePort(service, path)).status).toBe(404);
  },
);

test('metrics are answered as text, also where something is asked with them', async () => {
  const { status, headers, text } = await askSidePort(service, '/metrics?name[]=x');
  expect([status, headers.get('content-type')]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
  expect(text).toContain('# TYPE shardkeep_rpc_handled_total counter');
});

test.each([
  ['no HTTP', '\x16\x03\x01 hello\r\n\r\n', '400'],
  ['HTTP/2 without being asked', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '400'],
  ['two lengths', 'GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx', '400'],
  ['long headers', `GET /health HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
  ['a long path', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, '431'],
])('%s is refused, and the connection closed', async (_, words, status) => {
  expect(await say(words)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(await serves()).toBe(true);
});

test('a body is not read, and the next request is none of its bytes', async () => {
  const said = await say(
    'GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n',
  );
  expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
});

test('connections that send slowly are closed, and nobody waits for them meanwhile', async () => {
  const slow = await Promise.all(Array.from({ length: 50 }, open));
  const closed = slow.map((socket) => once(socket, 'close'));
  for (const socket of slow) socket.resume().write('GET /health HTTP/1.1\r\nX-Slow: ');
  const timer = setInterval(() => {
    for (const socket of slow) socket.write('x');
  }, 200);
  expect(await serves()).toBe(true);
  await Promise.all(closed);
  clearInterval(timer);
  expect(await serves()).toBe(true);
});

test('idle connections hold nobody off, however many there are', async () => {
  const idle = await Promise.all(Array.from({ length: 300 }, open));
  // as a probe does, by a connection of its own
  const said = await say('GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  expect(said).toMatch(/^HTTP\/1.1 200 /);
  for (const socket of idle) socket.destroy();
});

test('what many ask for at once is made once', async () => {
  let made = 0;
  const asked = new EventEmitter();
  const admin = await startAdminServer('127.0.0.1:0', {
    metrics: async () => {
      made++;
      await once(asked, 'last');
      return 'metrics';
    },
    health: () => {
      asked.emit('last');
      return Promise.reject(new Error('not healthy'));
    },
  });
  const socket = connect(Number(admin.address.split(':')[1]), '127.0.0.1');
  let said = '';
  socket.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  socket.write(request('/metrics').repeat(100) + request('/health'));
  await until(() => said.match(/HTTP\/1\.1 \d+/g)?.length === 101);
  expect(made).toBe(1);
  socket.destroy();
  await admin.close();
});
