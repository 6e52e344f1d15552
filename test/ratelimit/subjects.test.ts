import { describe, expect, test } from '@jest/globals';
import { parseListEntry, SubjectList } from '../../src/ratelimit/subject-list.js';
import { countedSubject } from '../../src/ratelimit/subject.js';

describe('a subject is counted', () => {
  test.each([
    ['ip:203.0.113.7', 'ip:203.0.113.7'],
    ['ip:::ffff:203.0.113.7', 'ip:203.0.113.7'],
    ['ip:::FFFF:cb00:7107', 'ip:203.0.113.7'],
    ['ip:0:0:0:0:0:ffff:203.0.113.7', 'ip:203.0.113.7'],
    ['ip:2001:db8::1', 'ip:2001:db8::/64'],
    ['ip:2001:DB8:0:0:ffff:ffff:ffff:ffff', 'ip:2001:db8::/64'],
    ['ip:2001:db8:0:1::', 'ip:2001:db8:0:1::/64'],
    ['ip:2001:0db8:1:2:3:4:5:6', 'ip:2001:db8:1:2::/64'],
    ['ip:64:ff9b::203.0.113.7', 'ip:64:ff9b::/64'],
    ['ip:fe80::1%eth0', 'ip:fe80::/64'],
    ['ip:::1', 'ip:::/64'],
    ['ip:::', 'ip:::/64'],
    // no addresses
    ['ip:2001:db8::/64', 'ip:2001:db8::/64'],
    ['ip:[::1]', 'ip:[::1]'],
    ['ip:203.0.113.7:443', 'ip:203.0.113.7:443'],
    ['ip:203.0.113.07', 'ip:203.0.113.07'],
    ['ip:localhost', 'ip:localhost'],
    ['ip:', 'ip:'],
    // not of that kind
    ['user:::ffff:203.0.113.7', 'user:::ffff:203.0.113.7'],
    ['IP:203.0.113.7', 'IP:203.0.113.7'],
  ])('%s as %s', (subject, counted) => {
    expect(countedSubject(subject, 64)).toBe(counted);
    expect(countedSubject(counted, 64)).toBe(counted);
  });

  test.each([
    [32, 'ip:2001:db8::/32'],
    [56, 'ip:2001:db8:ffff:ff00::/56'],
    [61, 'ip:2001:db8:ffff:fff8::/61'],
    [127, 'ip:2001:db8:ffff:ffff:0:1:0:fffe/127'],
    [128, 'ip:2001:db8:ffff:ffff:0:1:0:ffff'],
  ])('as a network of %i bits', (prefix, counted) => {
    expect(countedSubject('ip:2001:db8:ffff:ffff:0:1:0:ffff', prefix)).toBe(counted);
  });
});

describe('a list', () => {
  test.each<[string, string[], string[]]>([
    ['user:ada', ['user:ada'], ['user:bob', 'ada', 'ip:user:ada']],
    ['203.0.113.7', ['ip:203.0.113.7', 'ip:::ffff:203.0.113.7'], ['ip:203.0.113.8', 'user:203.0.113.7']],
    ['ip:203.0.113.7', ['ip:203.0.113.7'], ['ip:203.0.113.6']],
    ['::ffff:203.0.113.7', ['ip:203.0.113.7'], ['ip:203.0.113.6']],
    ['10.0.0.0/8', ['ip:10.0.0.0', 'ip:10.255.255.255', 'ip:::ffff:10.1.2.3'], ['ip:11.0.0.0', 'ip:9.255.255.255']],
    ['ip:10.1.0.0/16', ['ip:10.1.2.3'], ['ip:10.2.0.0']],
    // the bits after the length are nobody's
    ['10.9.9.9/8', ['ip:10.0.0.1'], ['ip:11.0.0.1']],
    ['::ffff:10.0.0.0/104', ['ip:10.1.2.3'], ['ip:11.0.0.1']],
    ['0.0.0.0/0', ['ip:8.8.8.8'], ['ip:2001:db8::1']],
    ['2001:db8::/32', ['ip:2001:db8:ffff::1', 'ip:2001:DB8::1%eth0'], ['ip:2001:db9::1', 'ip:10.0.0.1']],
    // smaller than what counts as one subject
    ['2001:db8::1', ['ip:2001:db8:0::1'], ['ip:2001:db8::2']],
    ['2001:db8::/127', ['ip:2001:db8::1'], ['ip:2001:db8::2']],
  ])('with %s', (entry, named, others) => {
    const list = new SubjectList([entry]);
    expect(named.filter((subject) => !list.has(subject))).toEqual([]);
    expect(others.filter((subject) => list.has(subject))).toEqual([]);
  });

  test('names whom any of its entries does', () => {
    const list = new SubjectList(['10.0.0.0/8', '2001:db8::/32', 'user:ada', '192.0.2.1', '172.16.0.0/12']);
    const named = ['ip:10.1.1.1', 'ip:2001:db8::1', 'user:ada', 'ip:192.0.2.1', 'ip:172.31.0.1'];
    expect(named.every((subject) => list.has(subject))).toBe(true);
    expect(list.has('ip:192.0.2.2')).toBe(false);
  });

  test.each([
    '',
    'ada',
    'ip:',
    'ip:ada',
    '10.0.0.0/33',
    '10.0.0.256',
    '10.0.0.0/',
    '2001:db8::/129',
    '1:2:3',
    '::1%eth0',
  ])('has no place for %j', (text) => {
    expect(parseListEntry(text)).toBeUndefined();
  });
});
