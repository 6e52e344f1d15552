import { credentials, status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { Authority, hasOpenssl, type Certificate } from '../support/certificates.js';
import { failureOf, TestChannel } from '../support/client.js';
import { CredentialsFile } from '../support/credentials.js';
import { RawPipeline } from '../support/pipeline-stream.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';

/** Callers whose certificate is good no more, on a connection that began while it was. */

const namespace = randomNamespace();
const OPERATOR = { name: 'operator', namespaces: [namespace], certificates: ['cn:operator'] };
const SHARD = { name: 'shard', namespaces: [namespace], certificates: ['cn:shard'] };

(hasOpenssl ? describe : describe.skip)('a certificate', () => {
  const file = new CredentialsFile([OPERATOR, SHARD]);
  let authority: Authority;
  let service: TestService;

  beforeAll(async () => {
    authority = new Authority();
    const own = authority.issue('service');
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      CREDENTIALS_FILE: file.path,
      TLS_CERT_FILE: own.certFile,
      TLS_KEY_FILE: own.keyFile,
      TLS_CLIENT_CA_FILE: authority.certFile,
    });
  });
  afterAll(async () => {
    await service.stop();
    authority.remove();
    file.remove();
  });

  /** A connection on which a call was answered, and a stream and a pipeline are open. */
  async function connect(certificate: Certificate) {
    const channel = new TestChannel(
      service.address,
      credentials.createSsl(authority.cert, certificate.key, certificate.cert),
    );
    const cache = channel.of(CacheServiceService);
    await cache.get({ key: 'k' });
    const watch = openStream(channel, SessionServiceService.watchSessions, { all: true });
    await watch.untilMessages(1);
    return { channel, cache, watch, pipeline: new RawPipeline(channel.client, channel.metadata) };
  }

  test('whose principal is taken out of the file opens nothing more, and its streams end', async () => {
    const { channel, cache, watch, pipeline } = await connect(authority.issue('shard'));
    file.write([OPERATOR]);
    expect(await watch.code()).toBe(Code.UNAUTHENTICATED);
    expect((await pipeline.ended).code).toBe(Code.UNAUTHENTICATED);
    expect((await failureOf(cache.get({ key: 'k' }))).code).toBe(Code.UNAUTHENTICATED);
    channel.close();
  });

  test('that expires ends its connection, and is not taken for another one', async () => {
    const other = await connect(authority.issue('operator'));
    const { channel, cache, watch, pipeline } = await connect(authority.issue('operator', { lifetimeMs: 8_000 }));
    // nothing is asked meanwhile
    await Promise.all([watch.code(), pipeline.ended]);
    await until(async () => (await failureOf(cache.get({ key: 'k' }))).code === Code.UNAVAILABLE);
    await other.cache.get({ key: 'k' });
    expect(await Promise.race([other.watch.code(), Promise.resolve('open')])).toBe('open');
    for (const each of [channel, other.channel]) each.close();
  });
});
