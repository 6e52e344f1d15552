import { credentials } from '@grpc/grpc-js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { Authority } from '../support/certificates.js';
import { metadataOf, TestChannel } from '../support/client.js';
import { CredentialsFile, newToken } from '../support/credentials.js';
import { startRedis } from '../support/redis-server.js';
import { randomNamespace, startTestService } from '../support/service.js';
import { call, SharedPlace, untilTold, type Fault } from './faults.js';

/** Faults of certificates, credentials and those who have none, on a service that asks for both. */

const DAYS_LEFT = 2;
const CALLS_A_ROUND = 1_500;
const CALLS_AT_ONCE = 50;

let authority: Authority | undefined;
let file: CredentialsFile | undefined;

const GUARDED = new SharedPlace(async () => {
  const redis = await startRedis();
  const [issuer, principals] = [new Authority(), new CredentialsFile()];
  [authority, file] = [issuer, principals];
  const namespace = randomNamespace();
  principals.write([{ name: 'shard', namespaces: [namespace], tokens: [newToken()] }]);
  const { certFile, keyFile } = issuer.issue('shard', { days: DAYS_LEFT });
  const service = await startTestService({
    ...{ REDIS_URL: redis.url, NAMESPACE: namespace, CREDENTIALS_FILE: principals.path },
    ...{ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  });
  const remove = (): Promise<void> => {
    issuer.remove();
    principals.remove();
    return Promise.resolve();
  };
  return { redis, service, remove };
});

export const ACCESS_FAULTS: readonly Fault[] = [
  {
    name: 'a certificate that ends the day after tomorrow',
    alerts: ['ShardkeepCertificateExpires'],
    place: GUARDED,
    isUsed: false,
  },
  {
    name: 'callers with a token of nobody',
    alerts: ['ShardkeepCertificateExpires', 'ShardkeepCallersRefused'],
    place: GUARDED,
    isUsed: false,
    goOn: async ({ service }) => {
      const metadata = metadataOf({ token: newToken().text });
      const channel = new TestChannel(service.address, credentials.createSsl(authority?.cert), { metadata });
      const cache = channel.of(CacheServiceService);
      for (let sent = 0; sent < CALLS_A_ROUND; sent += CALLS_AT_ONCE) {
        await Promise.all(Array.from({ length: CALLS_AT_ONCE }, () => call(() => cache.get({ key: 'k' }))));
      }
      channel.close();
    },
  },
  {
    name: 'the credentials file is broken',
    alerts: ['ShardkeepCertificateExpires', 'ShardkeepCredentialsRefused'],
    place: GUARDED,
    isUsed: false,
    begin: async ({ service }) => {
      file?.writeText('principals: 7');
      await untilTold(service, 'shardkeep_credentials_refused 1');
    },
  },
];
