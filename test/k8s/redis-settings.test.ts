import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';

/** The examples of a Redis: what the service counts on is in their settings, and their scripts are scripts. */

const EXAMPLES = ['redis-sentinel', 'redis-cluster'];

test.each(EXAMPLES)('%s loses at most a second, evicts nothing, and takes nothing that no replica hears', (folder) => {
  const lines = readFileSync(`k8s/${folder}/redis.conf`, 'utf8').split('\n');
  const settings = Object.fromEntries(
    lines.filter((line) => !line.startsWith('#') && line !== '').map((line) => line.split(/ (.*)/s).slice(0, 2)),
  ) as Readonly<Record<string, string>>;
  expect(settings).toMatchObject({
    'maxmemory-policy': 'noeviction',
    appendonly: 'yes',
    appendfsync: 'everysec',
    'min-replicas-to-write': '1',
    'min-replicas-max-lag': '10',
    aclfile: '/secrets/users.acl',
  });
  expect(settings).not.toHaveProperty('requirepass');
});

test.each(['redis-sentinel/start.sh', 'redis-cluster/start.sh', 'redis-cluster/form.sh'])(
  '%s is a shell script',
  (file) => {
    expect(spawnSync('sh', ['-n', `k8s/${file}`])).toMatchObject({ status: 0 });
  },
);
