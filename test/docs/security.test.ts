import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { credentialsFileSchema } from '../../src/config/credentials.js';
import { ADMIN_RPCS } from '../support/admin-rpcs.js';
import { CredentialsFile } from '../support/credentials.js';

/** What docs/security.md says of the credentials file is so. */

const page = readFileSync('docs/security.md', 'utf8');
const file = new CredentialsFile();
afterAll(() => {
  file.remove();
});

function section(title: string): string {
  return page.slice(page.indexOf(`## ${title}`)).split('\n## ')[0] ?? '';
}

test('its example can be used', () => {
  const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  file.writeText(yaml);
  const { credentials } = loadConfig({ CREDENTIALS_FILE: file.path, REDIS_URL: 'redis://127.0.0.1:1' });
  expect(credentials?.principals.map(({ name }) => name)).toEqual(['shard', 'matchmaker', 'operator']);
});

test('its table has every setting of a principal', () => {
  const named = [...section('The credentials file').matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, name]) => name);
  expect(named.toSorted()).toEqual(Object.keys(credentialsFileSchema.shape.principals.element.shape).toSorted());
});

test('it lists every RPC that needs an admin, and no other', () => {
  const rows = section('What needs an admin')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  const named = rows
    .filter((row) => !row.includes('allow_all'))
    .flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(?:\w+\/)?(\w+)`/g)].map(([, method]) => method));
  const methods = [...ADMIN_RPCS].map((rpc) => rpc.slice(rpc.indexOf('/') + 1));
  expect(named.toSorted()).toEqual(methods.toSorted());
});
