import type { RedisTarget } from '../redis/connection.js';

const DEFAULT_PORT = 6_379;

/**
 * Reads where a Redis is:
 * `redis[s]://[user:password@]host[:port][/db]`, `redis+cluster://` or `rediss+cluster://` with one or more
 * `host:port` separated by commas, or `unix:/path/to/redis.sock[?db=n]`. Throws with what is wrong, never with the
 * password.
 */
export function parseRedisUrl(text: string): RedisTarget {
  if (text.startsWith('unix:')) return parseSocketUrl(text);
  const [scheme, rest] = splitOnce(text, '://');
  if (rest === undefined) throw new Error('must begin with redis://, rediss://, redis+cluster:// or unix:');
  const tls = scheme.startsWith('rediss');
  if (scheme === 'redis' || scheme === 'rediss') return parseServerUrl(rest, tls);
  if (scheme === 'redis+cluster' || scheme === 'rediss+cluster') return parseClusterUrl(rest, tls);
  throw new Error('must begin with redis://, rediss://, redis+cluster:// or unix:');
}

function parseServerUrl(rest: string, tls: boolean): RedisTarget {
  const url = parseAuthority(rest);
  const database = url.pathname.replace(/^\//, '');
  return {
    topology: 'standalone',
    tls,
    host: host(url),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    database: database === '' ? 0 : parseDatabase(database),
    ...credentials(url),
  };
}

function parseClusterUrl(rest: string, tls: boolean): RedisTarget {
  const at = rest.lastIndexOf('@');
  const login = rest.slice(0, at + 1);
  const urls = rest
    .slice(at + 1)
    .split(',')
    .map((node) => parseAuthority(login + node));
  const [first] = urls;
  if (first === undefined) throw new Error('names no node');
  if (urls.some(({ pathname }) => pathname !== '' && pathname !== '/')) throw new Error('a Cluster has no databases');
  return {
    topology: 'cluster',
    tls,
    seeds: urls.map((url) => ({ host: host(url), port: url.port === '' ? DEFAULT_PORT : Number(url.port) })),
    ...credentials(first),
  };
}

function parseSocketUrl(text: string): RedisTarget {
  const [path, query] = splitOnce(text.slice('unix:'.length), '?');
  if (!path.startsWith('/')) throw new Error('must name an absolute path after unix:');
  const database = new URLSearchParams(query ?? '').get('db');
  return {
    topology: 'standalone',
    tls: false,
    socketPath: path.replace(/^\/\//, ''),
    database: database === null ? 0 : parseDatabase(database),
  };
}

function parseAuthority(rest: string): URL {
  try {
    // a special scheme, so that host and port are checked
    return new URL(`http://${rest}`);
  } catch {
    throw new Error('is no address of the form host:port');
  }
}

function host({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function credentials({ username, password }: URL): { username?: string; password?: string } {
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
}

function parseDatabase(digits: string): number {
  if (!/^\d{1,7}$/.test(digits)) throw new Error('names a database that is no number');
  return Number(digits);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
