import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import protobuf from 'protobufjs';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { DatabaseSnapshot } from '../support/database-snapshot.js';
import { openStream } from '../support/stream-client.js';
import { encode, placesOf, protoRpcs, type Place } from '../support/proto.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { rows } from './bad-rows.js';
import type { Bad } from './bad-values.js';
import { createFixture, goodRequestFor, type Fixture } from './good-requests.js';

/** Every field of every RPC, as the proto's descriptors list them: a new field without a row fails here. */

const places = protoRpcs.flatMap((rpc) => placesOf(rpc));

interface BadCase {
  readonly title: string;
  readonly place: Place;
  readonly bad: Bad;
}

const cases: readonly BadCase[] = places.flatMap((place) => {
  const row = rows.get(place.id);
  if (!Array.isArray(row)) return [];
  return (row as readonly Bad[]).map((bad) => ({
    title: `with ${place.prefix}${place.name}: ${bad.what}`,
    place,
    bad,
  }));
});

let service: TestService;
let fixture: Fixture;
let database: DatabaseSnapshot;

beforeAll(async () => {
  database = await DatabaseSnapshot.open();
  const bucket = { algorithm: 'token_bucket', limit: 1_000_000, window_ms: 2_592_000_000, burst: 1_000_000_000 };
  const policies = { rpc_limits: [], rate_policies: { bucket } };
  service = await startTestService({ REDIS_URL: database.url, POLICIES_FILE: policiesFile(policies) });
});
afterAll(async () => {
  await service.stop();
  await database.close();
});

test('every field and oneof of every request has a row, and every row a field', () => {
  const known = new Set(places.map(({ id }) => id));
  expect({
    withoutRow: [...known].filter((id) => !rows.has(id)),
    withoutField: [...rows.keys()].filter((id) => !known.has(id)),
  }).toEqual({ withoutRow: [], withoutField: [] });
});

test('a field that nobody thought of is found out', () => {
  const request = new protobuf.Type('GetRequest').add(new protobuf.Field('forgotten', 9, 'string'));
  expect(placesOf({ name: 'x', request, isUnary: true }).some(({ id }) => rows.has(id))).toBe(false);
});

test.each(protoRpcs.map((rpc) => ({ rpc, ...rpc })))(
  '$name succeeds with a good request, unknown fields ignored',
  async ({ rpc, name, request }) => {
    const good = encode(request, goodRequestFor(name, await createFixture(service)));
    const unknownField = Buffer.from([...[0xfa, 0xff, 0x03], 3, 1, 2, 3]);
    await expect(service.channel.rawRpc(rpc, Buffer.concat([good, unknownField]))).resolves.toBeInstanceOf(Buffer);
  },
);

describe('INVALID_ARGUMENT that names the field, and nothing written:', () => {
  let before: string;
  beforeAll(async () => {
    // one of the good requests was to end all sessions, and left when that had begun
    await openStream(service.channel, SessionServiceService.destroyAllSessions, {}).result;
    fixture = await createFixture(service);
    // the service adds what it counted of the calls before, and has nothing more to add: a refused call counts nowhere
    await service.cache.getCacheStats({});
    await service.locks.getLockStats({});
    await service.rateLimits.getRateLimitStats({ hottestCount: 0 });
    before = await database.take();
  });

  describe.each(protoRpcs.map(({ name }) => name))('%s', (rpcName) => {
    const ofRpc = cases.filter(({ place }) => place.rpc.name === rpcName);
    if (ofRpc.length === 0) return;

    test.each(ofRpc)('$title', async ({ place, bad }) => {
      const { rpc, prefix, name, of, excludes } = place;
      const request = structuredClone(goodRequestFor(rpc.name, fixture, prefix));
      const message = of(request);
      for (const other of excludes) Reflect.deleteProperty(message, other);
      Object.assign(message, bad.beside);
      message[name] = bad.value;
      const failure = await failureOf(service.channel.rawRpc(rpc, encode(rpc.request, request)));
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, reason: 'INVALID_FIELD' });
      expect(failure.fields).toContain(`${prefix}${name}${bad.at ?? ''}`);
    });

    test('none of them wrote anything', async () => {
      expect(await database.take()).toBe(before);
    });
  });
});
