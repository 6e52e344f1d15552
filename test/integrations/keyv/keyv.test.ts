import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import keyvTestSuite from '@keyv/test-suite';
import Keyv from 'keyv';
import { KeyvShardkeep } from '../../../src/integrations/keyv/index.js';
import { connect, type ShardkeepClient } from '../../../src/client/index.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';

/** Keyv's own suite for stores, as it is published, with jest in the place of its runner. */
const runner = {
  beforeEach,
  afterEach,
  it: (name: string, body: (context: { expect: typeof expect }) => unknown) => {
    // eslint-disable-next-line jest/expect-expect, jest/valid-title -- both are the suite's
    test(name, async () => {
      await body({ expect });
    });
  },
};

onEachTopology('Keyv', (service) => {
  let client: ShardkeepClient;
  beforeEach(() => {
    client = connect(service().address, { timeoutMs: 30_000 });
  });
  afterEach(() => client.close());
  const store = () => new KeyvShardkeep(client.cache);

  describe('its test suite', () => {
    keyvTestSuite(runner as never, Keyv, store);
  });

  test('many at once', async () => {
    const keyv = new Keyv({ store: store(), namespace: randomNamespace() });
    const entries = [
      { key: 'a', value: 1 },
      { key: 'b', value: { two: 2 }, ttl: 60_000 },
    ];
    expect(await keyv.setMany(entries)).toEqual([true, true]);
    expect(await keyv.getMany(['a', 'b', 'c'])).toEqual([1, { two: 2 }, undefined]);
    expect(await keyv.hasMany(['a', 'c'])).toEqual([true, false]);
    expect(await keyv.deleteMany(['a', 'c'])).toBe(true);
    expect(await keyv.deleteMany(['a', 'c'])).toBe(false);
  });

  test('what was cleared is gone for everything that asks, and other namespaces are not touched', async () => {
    const [one, other] = [store(), store()];
    const [namespace, otherNamespace] = [randomNamespace(), randomNamespace()];
    const keyv = new Keyv({ store: one, namespace });
    const kept = new Keyv({ store: other, namespace: otherNamespace });
    await keyv.set('key', 'value');
    await kept.set('key', 'kept');
    await keyv.clear();
    expect(await keyv.get('key')).toBeUndefined();
    expect(await keyv.has('key')).toBe(false);
    expect(await keyv.delete('key')).toBe(false);
    await keyv.set('key', 'again');
    expect(await keyv.get('key')).toBe('again');
    expect(await kept.get('key')).toBe('kept');
  });

  test('none at once', async () => {
    const keyv = new Keyv({ store: store(), namespace: randomNamespace(), throwOnErrors: true });
    expect(await keyv.setMany([])).toEqual([]);
    expect(await keyv.getMany([])).toEqual([]);
    expect(await keyv.hasMany([])).toEqual([]);
    expect(await keyv.deleteMany([])).toBe(false);
  });

  test('a namespace has as many bytes as a key has room for, and is cleared without those that are like it', async () => {
    const long = `${randomNamespace()}${'é'.repeat(240)}`;
    const [keyv, like] = [`${long}a`, `${long}b`].map(
      (namespace) => new Keyv({ store: store(), namespace, throwOnErrors: true }),
    );
    await keyv?.set('k', 'cleared');
    await like?.set('k', 'kept');
    expect(await keyv?.get('k')).toBe('cleared');
    await keyv?.clear();
    expect([await keyv?.get('k'), await like?.get('k')]).toEqual([undefined, 'kept']);
  });

  test('an entry that could not be stored is told of', async () => {
    const { address } = service();
    const away = connect(address, { timeoutMs: 30_000 });
    await away.close();
    const keyv = new Keyv({ store: new KeyvShardkeep(away.cache), namespace: randomNamespace() });
    keyv.on('error', () => undefined);
    expect(await keyv.setMany([{ key: 'a', value: 1 }])).toEqual([false]);
  });

  test('what is wrong is an error of the client, by the field', async () => {
    const keyv = new Keyv({ store: store(), namespace: randomNamespace(), throwOnErrors: true });
    await expect(keyv.set('k'.repeat(600), 1)).rejects.toMatchObject({ fields: ['key'] });
  });
});
