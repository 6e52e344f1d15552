import { afterAll, afterEach, expect, test } from '@jest/globals';
import { status as Code } from '@grpc/grpc-js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf, metadataOf, TestChannel } from '../support/client.js';
import { CredentialsFile, newToken } from '../support/credentials.js';
import { grpcMessage, Http2Caller } from '../support/http2-caller.js';
import { RawPipeline } from '../support/pipeline-stream.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { METHODS } from '../pipeline/requests.js';

/** A service process that goes by a credentials file. */

const EXIT_CONFIG = 78;
const token = newToken();
const namespace = randomNamespace();
const files: CredentialsFile[] = [];
const channels: TestChannel[] = [];

afterEach(async () => {
  for (const channel of channels.splice(0)) channel.close();
  await killServiceProcesses();
});
afterAll(() => {
  for (const file of files) file.remove();
});

function newFile(): CredentialsFile {
  const file = new CredentialsFile([{ name: 'shard', namespaces: [namespace], tokens: [token] }]);
  files.push(file);
  return file;
}

function channelOf(address: string, shown?: string): TestChannel {
  const channel = new TestChannel(address, undefined, { metadata: metadataOf({ token: shown }) });
  channels.push(channel);
  return channel;
}

const settings = (file: CredentialsFile) => ({
  REDIS_URL: sharedRedisUrl('standalone'),
  CREDENTIALS_FILE: file.path,
});

test('does not start with one that gives rights that cannot be used, and names them', async () => {
  const file = newFile();
  const rpcs = ['shardkeep.ratelimit.v1.RateLimitService/Ban'];
  file.write([{ name: 'shard', namespaces: [namespace], tokens: [token], rpcs }]);
  const service = await startServiceProcess(settings(file), { until: 'nothing' });
  expect((await service.exited).code).toBe(EXIT_CONFIG);
  expect(JSON.stringify([service.logs, service.output])).toContain('RateLimitService/Ban');
});

test('a worker that is started while the file is bad goes by the one before', async () => {
  const file = newFile();
  const service = await startServiceProcess({ ...settings(file), WORKERS: '2' });
  file.writeText('principals: [');
  const isRefused = (): boolean =>
    service.logs.filter(({ msg }) => msg === 'credentials file refused, the credentials before it stay in force')
      .length >= 2;
  await until(isRefused);
  const [first] = service.logs.filter(({ msg }) => msg === 'worker started');
  process.kill(Number(first?.pid), 'SIGKILL');
  await until(() => service.logs.filter(({ msg }) => msg === 'worker ready').length >= 3);
  // each on a connection of its own, so that both workers are met
  for (let call = 0; call < 8; call++) {
    await channelOf(service.address, token.text).of(CacheServiceService).get({ key: 'k' });
    const failure = await failureOf(channelOf(service.address).of(CacheServiceService).get({ key: 'k' }));
    expect(failure.code).toBe(Code.UNAUTHENTICATED);
  }
});

test('tells no token, neither its own nor of a session, in anything that it logs', async () => {
  const file = newFile();
  const service = await startServiceProcess({ ...settings(file), LOG_LEVEL: 'trace' });
  const channel = channelOf(service.address, token.text);
  const wrong = newToken();
  const sessions = channel.of(SessionServiceService);
  const { session, sessionToken } = await sessions.createSession({ userId: 'ada' });
  await sessions.validateSession({ sessionToken });
  const rotated = await sessions.rotateSession({ sessionToken });
  const secrets = [token.text, wrong.text, sessionToken, rotated.sessionToken].flatMap((each) =>
    each.split('.').slice(-1),
  );
  // refused in every way there is
  await failureOf(channelOf(service.address, wrong.text).of(CacheServiceService).get({ key: 'k' }));
  await failureOf(sessions.validateSession({ sessionToken: `${sessionToken}!` }));
  await failureOf(sessions.getSession({ sessionId: sessionToken }));
  await new RawPipeline(service.address, metadataOf({ token: wrong.text })).ended;
  const pipeline = new RawPipeline(channel.client, channel.metadata);
  pipeline.send({ methods: METHODS, calls: [{ id: 1, method: 4, request: Buffer.from([0xff]) }] });
  await pipeline.untilAnswers(1);
  const watch = openStream(channel, SessionServiceService.watchSessions, { all: true });
  await watch.untilMessages(1);
  // an operator's mistake: the token where its hash belongs, and a key of the file
  file.writeText(
    `principals:\n  - name: shard\n    ${wrong.text}: 1\n    namespaces: [${namespace}]\n    tokens: [{ sha256: ${wrong.text} }]\n`,
  );
  await service.log('credentials file refused, the credentials before it stay in force');
  file.write([{ name: 'other', namespaces: [namespace], tokens: [] }]);
  await service.log('credentials replaced');
  expect(await watch.code()).toBe(Code.UNAUTHENTICATED);
  await sessions.destroySession({ sessionId: session?.sessionId ?? '' }).catch(() => undefined);
  await service.stop('SIGTERM');
  const said = JSON.stringify([service.logs, service.output]);
  expect(service.logs.length).toBeGreaterThan(5);
  expect(secrets.filter((secret) => said.includes(secret))).toEqual([]);
});

test('a token that was written wrong is nowhere in what the process writes', async () => {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    CREDENTIALS_FILE: newFile().path,
  });
  const caller = new Http2Caller(service.address);
  for (const written of [`\t${token.text}`, `${token.text}\u00e9`]) {
    const { grpcStatus } = await caller.request({
      path: '/shardkeep.cache.v1.CacheService/Get',
      body: grpcMessage(Buffer.alloc(0)),
      headers: { authorization: `Bearer ${written}` },
    });
    expect(grpcStatus).toBe(Code.UNAUTHENTICATED);
  }
  caller.close();
  await service.stop();
  expect(service.output).toEqual([]);
  expect(JSON.stringify(service.logs)).not.toContain(token.text);
});
