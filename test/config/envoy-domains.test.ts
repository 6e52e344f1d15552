import { afterAll, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { PoliciesFiles, problemsOf } from '../support/config.js';

/** `envoy_domains` of the policies file. */

const files = new PoliciesFiles();
afterAll(() => {
  files.remove();
});

const LOCAL = { REDIS_URL: 'redis://redis:7000' };
/** A domain from line 2 on; its descriptors from line 4 on. */
const domain = (...descriptors: string[]): string =>
  `envoy_domains:\n  edge:\n    descriptors:\n${descriptors.map((line) => `      ${line}\n`).join('')}`;
const POLICIES = [
  'rate_policies:',
  '  slots: { algorithm: concurrency, limit: 1, window_ms: 1000 }',
  '  login: { limits: [{ per: ip, algorithm: fixed, limit: 1, window_ms: 1000 }] }',
  '',
].join('\n');

test('a domain says what limits the descriptors of proxies', () => {
  const text = domain(
    '- key: tenant',
    '  descriptors:',
    '    - { key: path, value: /x*, policy: chat, subject: "{tenant}" }',
  );
  expect(loadConfig({ ...LOCAL, POLICIES_FILE: files.write(text) }).envoyDomains).toEqual({
    edge: {
      headers: true,
      descriptors: [
        { key: 'tenant', descriptors: [{ key: 'path', value: '/x*', policy: 'chat', subject: '{tenant}' }] },
      ],
    },
  });
});

test('without a file no domain is configured', () => {
  expect(loadConfig(LOCAL).envoyDomains).toEqual({});
});

const deep = (depth: number): string => `{ key: k, descriptors: [${depth === 1 ? '{ key: k }' : deep(depth - 1)}] }`;

describe('a bad one is refused with line and field:', () => {
  test.each<[string, string, number, string]>([
    ['a domain without descriptors', 'envoy_domains:\n  edge: {}\n', 2, 'edge.descriptors'],
    ['an empty list of them', 'envoy_domains:\n  edge:\n    descriptors: []\n', 3, 'edge.descriptors'],
    ['a domain without name', "envoy_domains:\n  '': { descriptors: [{ key: k }] }\n", 2, ''],
    ['an unknown field of a domain', `${domain('- key: k')}    shadow: true\n`, 5, 'edge.shadow'],
    ['headers by half', `${domain('- key: k')}    headers: some\n`, 5, 'edge.headers'],
    ['an unknown field', domain('- key: k', '  rate_limit: 5'), 5, 'edge.descriptors.0.rate_limit'],
    ['no key', domain('- value: x'), 4, 'edge.descriptors.0.key'],
    ['an empty key', domain("- key: ''"), 4, 'edge.descriptors.0.key'],
    ['a value that is a number', domain('- key: k', '  value: 5'), 5, 'edge.descriptors.0.value'],
    ['a policy in capitals', domain('- key: k', '  policy: Chat'), 5, 'edge.descriptors.0.policy'],
    ['a policy that does not exist', domain('- key: k', '  policy: nowhere'), 5, 'edge.descriptors.0.policy'],
    ['a policy that every object has', domain('- key: k', '  policy: constructor'), 5, 'edge.descriptors.0.policy'],
    ['a policy of several limits', domain('- key: k', '  policy: login'), 5, 'edge.descriptors.0.policy'],
    ['a policy of slots', domain('- key: k', '  policy: slots'), 5, 'edge.descriptors.0.policy'],
    [
      'what is wrong deeper',
      domain('- key: k', '  descriptors:', '    - key: l', '      policy: nowhere'),
      7,
      'edge.descriptors.0.descriptors.0.policy',
    ],
    ['no entries behind', domain('- key: k', '  descriptors: []'), 5, 'edge.descriptors.0.descriptors'],
    ['a subject without policy', domain('- key: k', '  subject: x'), 5, 'edge.descriptors.0.subject'],
    ['a role without policy', domain('- key: k', '  role: x'), 5, 'edge.descriptors.0.role'],
    ['units without policy', domain('- key: k', '  charge_denied: true'), 5, 'edge.descriptors.0.charge_denied'],
    [
      'units by half',
      domain('- { key: k, policy: chat,', '  charge_denied: 1 }'),
      5,
      'edge.descriptors.0.charge_denied',
    ],
    [
      'a subject of an entry that is not there',
      domain('- key: ip', '  policy: chat', "  subject: 'ip:{remote_address}'"),
      6,
      'edge.descriptors.0.subject',
    ],
    [
      'a subject of an entry that comes later',
      domain('- key: a', '  policy: chat', "  subject: '{b}'", '  descriptors: [{ key: b }]'),
      6,
      'edge.descriptors.0.subject',
    ],
    ['such a role', domain('- key: a', '  policy: chat', "  role: '{b}'"), 6, 'edge.descriptors.0.role'],
    ['a key for any value twice', domain('- key: k', '- key: l', '- key: k'), 6, 'edge.descriptors.2.key'],
    ['a value twice', domain('- { key: k, value: v }', '- { key: k, value: v }'), 5, 'edge.descriptors.1.key'],
    [
      'more entries than a descriptor has',
      domain(`- ${deep(16)}`),
      4,
      `edge.descriptors.0${'.descriptors.0'.repeat(15)}`,
    ],
  ])('%s', (_, text, line, field) => {
    const path = files.write(`${text}${POLICIES}`);
    const problems = problemsOf({ ...LOCAL, POLICIES_FILE: path });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`POLICIES_FILE: ${path}:${String(line)}: envoy_domains.${field}`);
  });

  test('all of them at once', () => {
    const path = files.write(domain('- { key: a, policy: nowhere }', "- { key: b, policy: chat, subject: '{c}' }"));
    expect(problemsOf({ ...LOCAL, POLICIES_FILE: path })).toHaveLength(2);
  });
});

test('the same key with other values, and in other places, is no second one', () => {
  const path = files.write(
    domain(
      '- key: k',
      '- { key: k, value: v }',
      "- { key: k, value: '' }",
      '- { key: k, value: v*, descriptors: [{ key: k }] }',
    ),
  );
  expect(problemsOf({ ...LOCAL, POLICIES_FILE: path })).toEqual([]);
});
