import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { login, POLICIES_FILE } from './claim-support.js';

/**
 * The dup drill: a character is played from two logins, and by shards that do not know yet that they were replaced. What
 * they save must be one lineage: once a later epoch has written, an earlier one never does again.
 */

const SHARD = fileURLToPath(new URL('shard.mjs', import.meta.url));

/** A save: the versions that were given for it, 0 where it was refused. */
interface Save {
  readonly epoch: bigint;
  readonly inCache: bigint;
  readonly inSession: bigint;
}

const shards: Shard[] = [];

/** A shard in a process of its own. */
class Shard {
  private readonly child: ChildProcess;
  private readonly said: Record<string, unknown>[] = [];

  constructor(address: string, { userId, sessionId }: Session, owner: string) {
    // bigints need it
    this.child = fork(SHARD, [address, userId, sessionId, owner], { serialization: 'advanced', execArgv: [] });
    this.child.on('message', (message) => this.said.push(message as Record<string, unknown>));
    shards.push(this);
  }

  /** The next thing that it says, which must be this. */
  async says(name: string): Promise<unknown> {
    await until(() => {
      if (this.child.exitCode !== null) throw new Error('the shard is gone');
      return this.said.length > 0;
    });
    const message = this.said.shift() ?? {};
    if (!(name in message)) throw new Error(`the shard did not say ${name}`);
    return message[name];
  }

  send(name: string, guarded = true): void {
    this.child.send({ name, guarded });
  }

  async claim(): Promise<bigint> {
    this.send('claim');
    return (await this.says('done')) as bigint;
  }

  /** Begins a turn; answers whether the epoch was found to count. `finish` ends it. */
  async begin(guarded = true): Promise<unknown> {
    this.send('turn', guarded);
    return this.says('checked');
  }

  async finish(): Promise<Save> {
    this.send('go on');
    return (await this.says('done')) as Save;
  }

  /** Stops the process between two instructions. */
  async freeze(): Promise<void> {
    this.child.kill('SIGSTOP');
    await until(() => readFileSync(`/proc/${String(this.child.pid)}/stat`, 'utf8').includes(' T '));
  }

  thaw(): void {
    this.child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

/** Whether the saves that were accepted, in the order of their versions, never go back to an earlier epoch. */
function isOneLineage(saves: readonly Save[], where: 'inCache' | 'inSession'): boolean {
  const accepted = saves.filter((save) => save[where] > 0n).toSorted((a, b) => Number(a[where] - b[where]));
  expect(new Set(accepted.map((save) => save[where])).size).toBe(accepted.length);
  return accepted.every(({ epoch }, index) => epoch >= (accepted[index - 1]?.epoch ?? 0n));
}

onEachTopology(
  'one character',
  (service) => {
    afterEach(async () => {
      await Promise.all(shards.splice(0).map((shard) => shard.kill()));
    });

    const start = async (...of: readonly (readonly [Session, string])[]): Promise<Shard[]> => {
      const all = of.map(([session, owner]) => new Shard(service().address, session, owner));
      await Promise.all(all.map((shard) => shard.says('ready')));
      return all;
    };
    const twoLogins = async (): Promise<[Session, Session]> => {
      const userId = randomNamespace();
      return [await login(service(), userId), await login(service(), userId)];
    };
    const saved = async ({ userId }: Session): Promise<string | undefined> =>
      (await service().cache.get({ key: `char:${userId}:hero:data` })).entry?.value.toString();
    const savedIn = async ({ sessionId }: Session): Promise<string | undefined> =>
      (await service().sessions.getSession({ sessionId })).session?.metadata.get('save');

    /** Each shard is frozen between its check and its save, replaced, and thawed once the next one has saved. */
    const drill = async (guarded: boolean) => {
      const [first, second] = await twoLogins();
      // the third is what comes after a crash of the second's shard: the session is the same
      const [one, two, three] = await start([first, 'one'], [second, 'two'], [second, 'three']);
      if (one === undefined || two === undefined || three === undefined) throw new Error('not started');
      const epochs = [await one.claim()];
      expect(await one.begin(guarded)).toBe(true);
      const saves = [await one.finish()];
      for (const [zombie, next] of [
        [one, two],
        [two, three],
      ] as const) {
        expect(await zombie.begin(guarded)).toBe(true);
        await zombie.freeze();
        epochs.push(await next.claim());
        expect(await next.begin(guarded)).toBe(true);
        saves.push(await next.finish());
        zombie.thaw();
        saves.push(await zombie.finish());
      }
      // they find out as soon as they look
      for (const zombie of [one, two]) {
        expect(await zombie.begin(guarded)).toBe(false);
        saves.push(await zombie.finish());
      }
      return { first, second, epochs, saves };
    };

    test('has one lineage of saves though two of three shards are zombies', async () => {
      const { second, epochs, saves } = await drill(true);
      expect(epochs).toEqual(epochs.toSorted((a, b) => Number(a - b)));
      expect(new Set(epochs).size).toBe(epochs.length);
      expect(isOneLineage(saves, 'inCache')).toBe(true);
      expect(saves.filter(({ inCache }) => inCache > 0n).map(({ epoch }) => epoch)).toEqual(epochs);
      expect(await saved(second)).toBe('three:1');
      // of the session that two shards served
      const inSecond = saves.filter(({ epoch }) => epoch !== epochs[0]);
      expect(isOneLineage(inSecond, 'inSession')).toBe(true);
      expect(inSecond.filter(({ inSession }) => inSession > 0n).map(({ epoch }) => epoch)).toEqual(epochs.slice(1));
      expect(await savedIn(second)).toBe('three:1');
    });

    test('has more than one where saves have no guard: the check alone is not enough', async () => {
      const { epochs, saves } = await drill(false);
      expect(isOneLineage(saves, 'inCache')).toBe(false);
      expect(
        isOneLineage(
          saves.filter(({ epoch }) => epoch !== epochs[0]),
          'inSession',
        ),
      ).toBe(false);
    });

    describe('that changes hands while all shards save as fast as they can', () => {
      test('has one lineage', async () => {
        const [first, second] = await twoLogins();
        const all = await start([first, 'one'], [second, 'two'], [first, 'three'], [second, 'four']);
        for (const shard of all) {
          await shard.claim();
          shard.send('play');
          await shard.says('playing');
        }
        const logs = await Promise.all(all.slice(0, -1).map((shard) => shard.says('done') as Promise<Save[]>));
        const saves = logs.flat();
        expect(isOneLineage(saves, 'inCache')).toBe(true);
        // whoever lost the character went on until it was refused
        expect(logs.map((log) => log.at(-1)?.inCache)).toEqual([0n, 0n, 0n]);
      });
    });
  },
  { POLICIES_FILE },
);
