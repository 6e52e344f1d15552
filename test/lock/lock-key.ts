import { keys } from '../../src/redis/keys.js';
import { commandOn } from '../support/redis-server.js';
import { sharedRedisUrl, type TestService, type Topology } from '../support/service.js';

/** The Redis key of a lock, looked at behind the service's back. */
export interface LockKey {
  /** Sends `<name> <key> …args` to the node that has the key. */
  command(name: string, ...args: string[]): Promise<unknown>;
  /** Runs Lua with the key as KEYS[1], on the node that has it. */
  run(source: string, ...args: string[]): Promise<unknown>;
}

export function lockKey({ namespace }: TestService, topology: Topology, resource: string): LockKey {
  const key = keys.lock(namespace, resource);
  const ports = [...sharedRedisUrl(topology).matchAll(/:(\d+)/g)].map(([, port]) => Number(port));
  const send = async (command: readonly string[]): Promise<unknown> => {
    const answers = await Promise.allSettled(ports.map((port) => commandOn(port, command)));
    // the other masters answer MOVED
    const answer = answers.find(({ status }) => status === 'fulfilled');
    if (answer?.status !== 'fulfilled') throw new Error(`no node did ${String(command[0])}`, { cause: answers });
    return answer.value;
  };
  return {
    command: (name, ...args) => send([name, key, ...args]),
    run: (source, ...args) => send(['EVAL', source, '1', key, ...args]),
  };
}
