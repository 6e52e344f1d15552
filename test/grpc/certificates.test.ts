import type { PeerCertificate } from 'node:tls';
import { credentials, status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { certificateNames } from '../../src/grpc/presented.js';
import { Authority, type Certificate } from '../support/certificates.js';
import { metadataOf, TestChannel } from '../support/client.js';
import { CredentialsFile, newToken } from '../support/credentials.js';
import { codeOf, RawPipeline } from '../support/pipeline-stream.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { get, METHODS } from '../pipeline/requests.js';

/** Callers that are known by their certificates. */

const URI = 'spiffe://games.example/shard';
const token = newToken();
const namespaces = { uri: randomNamespace(), dns: randomNamespace(), cn: randomNamespace(), token: randomNamespace() };
const file = new CredentialsFile([
  { name: 'uri', namespaces: [namespaces.uri], certificates: [`uri:${URI}`] },
  { name: 'dns', namespaces: [namespaces.dns], certificates: ['dns:shard.games.example'] },
  { name: 'cn', namespaces: [namespaces.cn], certificates: ['cn:shard'] },
  { name: 'token', namespaces: [namespaces.token], tokens: [token] },
]);

let authority: Authority;
let stranger: Authority;
let service: TestService;
const channels: TestChannel[] = [];

beforeAll(async () => {
  [authority, stranger] = [new Authority(), new Authority()];
  const own = authority.issue('service');
  service = await startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    CREDENTIALS_FILE: file.path,
    TLS_CERT_FILE: own.certFile,
    TLS_KEY_FILE: own.keyFile,
    TLS_CLIENT_CA_FILE: authority.certFile,
    TLS_CLIENT_CERT: 'optional',
  });
});
afterAll(async () => {
  for (const channel of channels) channel.close();
  await service.stop();
  for (const each of [authority, stranger]) each.remove();
  file.remove();
});

interface Shown {
  readonly certificate?: Certificate;
  readonly token?: string;
}

function channelOf({ certificate, token: shown }: Shown, namespace?: string): TestChannel {
  const channel = new TestChannel(
    service.address,
    credentials.createSsl(authority.cert, certificate?.key, certificate?.cert),
    { metadata: metadataOf({ token: shown, namespace }) },
  );
  channels.push(channel);
  return channel;
}

function codeOfGet(shown: Shown, namespace?: string): Promise<Code> {
  const call = channelOf(shown, namespace).of(CacheServiceService).get({ key: 'k' });
  return call.then(
    () => Code.OK,
    (error: unknown) => (error as { readonly code: Code }).code,
  );
}

/** Which principal it is: the one whose namespace it may work in. */
async function principalOf(shown: Shown): Promise<string[]> {
  const codes = await Promise.all(
    Object.entries(namespaces).map(async ([name, namespace]) => [name, await codeOfGet(shown, namespace)] as const),
  );
  return codes.filter(([, code]) => code === Code.OK).map(([name]) => name);
}

test('a caller is known by a URI first, then by a DNS name, then by the common name', async () => {
  const all = ['DNS:other.example', 'DNS:shard.games.example', `URI:${URI}`];
  const named = (names?: readonly string[]): Shown => ({
    certificate: authority.issue('shard', names === undefined ? {} : { names }),
  });
  expect(await principalOf(named(all))).toEqual(['uri']);
  expect(await principalOf(named(['URI:spiffe://games.example/other', 'DNS:shard.games.example']))).toEqual(['dns']);
  expect(await principalOf(named())).toEqual(['cn']);
});

test('its calls and its pipeline work in the namespace of its principal', async () => {
  const channel = channelOf({ certificate: authority.issue('shard') });
  await channel.of(CacheServiceService).get({ key: 'k' });
  const pipeline = new RawPipeline(channel.client, channel.metadata);
  pipeline.send({ methods: METHODS, calls: [{ id: 1, request: get('k') }] });
  expect((await pipeline.untilAnswers(1)).map(codeOf)).toEqual([Code.OK]);
  pipeline.cancel();
});

test('a token goes before a certificate, also one that is no good', async () => {
  const certificate = authority.issue('shard');
  expect(await principalOf({ certificate, token: token.text })).toEqual(['token']);
  expect(await codeOfGet({ certificate, token: newToken().text })).toBe(Code.UNAUTHENTICATED);
});

test('nobody is let in by a certificate of nobody, or by none', async () => {
  expect(await codeOfGet({})).toBe(Code.UNAUTHENTICATED);
  expect(await codeOfGet({ certificate: authority.issue('player') })).toBe(Code.UNAUTHENTICATED);
  expect(await codeOfGet({ certificate: stranger.issue('shard') })).toBe(Code.UNAVAILABLE);
});

describe('the names of a certificate', () => {
  const namesOf = (subjectaltname: string | undefined, CN?: string | string[]): readonly string[] =>
    certificateNames({ subject: { CN }, subjectaltname } as unknown as PeerCertificate);

  test('are told apart where one has what stands between them', () => {
    expect(namesOf('URI:"a, DNS:b", DNS:c')).toEqual(['uri:a, DNS:b', 'dns:c']);
    expect(namesOf('URI:spiffe://a/b, IP Address:127.0.0.1, DNS:c', 'd')).toEqual([
      'uri:spiffe://a/b',
      'dns:c',
      'cn:d',
    ]);
    expect(namesOf(undefined, ['d', 'e'])).toEqual(['cn:d', 'cn:e']);
  });

  test('are none where they cannot be told apart', () => {
    expect(namesOf('URI:"a, DNS:b')).toEqual([]);
    expect(namesOf('DNS:a,DNS:b')).toEqual([]);
    expect(namesOf('')).toEqual([]);
  });
});
