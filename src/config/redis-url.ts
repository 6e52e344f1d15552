import type { Endpoint, RedisTarget } from '../redis/connection.js';

const DEFAULT_PORT = 6_379;
const DEFAULT_SENTINEL_PORT = 26_379;
const SCHEMES = 'must begin with redis://, rediss://, redis+cluster://, redis+sentinel:// or unix:';

/**
 * Reads where a Redis is:
 * `redis[s]://[user:password@]host[:port][/db]`, `redis+cluster://` or `rediss+cluster://` with one or more
 * `host:port` separated by commas, `redis+sentinel://` or `rediss+sentinel://` with the sentinels instead and
 * `/master-name[/db]` behind them (the login is the master's), or `unix:/path/to/redis.sock[?db=n]`. Throws with what is
 * wrong, never with the password.
 */
export function parseRedisUrl(text: string): RedisTarget {
  if (text.startsWith('unix:')) return parseSocketUrl(text);
  const [scheme, rest] = splitOnce(text, '://');
  if (rest === undefined) throw new Error(SCHEMES);
  const tls = scheme.startsWith('rediss');
  if (scheme === 'redis' || scheme === 'rediss') return parseServerUrl(rest, tls);
  if (scheme === 'redis+cluster' || scheme === 'rediss+cluster') return parseClusterUrl(rest, tls);
  if (scheme === 'redis+sentinel' || scheme === 'rediss+sentinel') return parseSentinelUrl(rest, tls);
  throw new Error(SCHEMES);
}

function parseServerUrl(rest: string, tls: boolean): RedisTarget {
  const url = parseAuthority(rest);
  const database = url.pathname.replace(/^\//, '');
  return {
    topology: 'standalone',
    tls,
    host: host(url),
    port: port(url, rest),
    database: database === '' ? 0 : parseDatabase(database),
    ...credentials(url),
  };
}

function parseClusterUrl(rest: string, tls: boolean): RedisTarget {
  const { nodes, login } = parseNodes(rest);
  if (nodes.some(({ url }) => url.pathname !== '/')) throw new Error('a Cluster has no databases');
  return { topology: 'cluster', tls, seeds: nodes.map(({ node, url }) => endpoint(url, node)), ...login };
}

function parseSentinelUrl(rest: string, tls: boolean): RedisTarget {
  const place = rest.slice(rest.lastIndexOf('@') + 1);
  const [, masterName = '', database, ...more] = place.split('/');
  if (masterName === '') throw new Error('must name the master behind the sentinels, as in host:26379/mymaster');
  if (more.length > 0) throw new Error('must end with the name of the master, or /db behind it');
  const { nodes, login } = parseNodes(rest.slice(0, rest.length - place.length) + place.slice(0, place.indexOf('/')));
  return {
    topology: 'sentinel',
    tls,
    sentinels: nodes.map(({ node, url }) => endpoint(url, node, DEFAULT_SENTINEL_PORT)),
    masterName: decodePart(masterName),
    database: database === undefined || database === '' ? 0 : parseDatabase(database),
    ...login,
  };
}

interface Nodes {
  readonly nodes: readonly { readonly node: string; readonly url: URL }[];
  readonly login: ReturnType<typeof credentials>;
}

/** `[user:password@]host:port,host:port` */
function parseNodes(rest: string): Nodes {
  const at = rest.lastIndexOf('@');
  const login = rest.slice(0, at + 1);
  const nodes = rest
    .slice(at + 1)
    .split(',')
    .map((node) => ({ node, url: parseAuthority(login + node) }));
  const [first] = nodes;
  if (first === undefined) throw new Error('names no node');
  return { nodes, login: credentials(first.url) };
}

function endpoint(url: URL, text: string, defaultPort = DEFAULT_PORT): Endpoint {
  return { host: host(url), port: port(url, text, defaultPort) };
}

function parseSocketUrl(text: string): RedisTarget {
  const [path, query] = splitOnce(text.slice('unix:'.length), '?');
  const socketPath = path.replace(/^\/\/(?=\/)/, '');
  if (!/^\/[^/]/.test(socketPath)) throw new Error('must name an absolute path after unix:');
  const database = new URLSearchParams(query ?? '').get('db');
  return {
    topology: 'standalone',
    tls: false,
    socketPath,
    database: database === null ? 0 : parseDatabase(database),
  };
}

function parseAuthority(rest: string): URL {
  let url: URL;
  try {
    // a special scheme, so that host and port are checked
    url = new URL(`http://${rest}`);
  } catch {
    throw new Error('is no address of the form host:port');
  }
  // a bare one in a password would end the address there, and the log would show what stands before it as the host
  if (/[?#]/.test(rest)) throw new Error('must write ? and # of a password as %3F and %23');
  return url;
}

/** The port; `url` drops 80, the default of its scheme, so that one is looked up in the `text`. */
function port(url: URL, text: string, defaultPort = DEFAULT_PORT): number {
  if (url.port === '') return /:0*80(?:\/|$)/.test(text) ? 80 : defaultPort;
  if (url.port === '0') throw new Error('must name a port from 1 to 65535');
  return Number(url.port);
}

function host({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function credentials({ username, password }: URL): { username?: string; password?: string } {
  return {
    ...(username === '' ? {} : { username: decodePart(username) }),
    ...(password === '' ? {} : { password: decodePart(password) }),
  };
}

function decodePart(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw new Error('must write % of a user or password as %25');
  }
}

function parseDatabase(digits: string): number {
  if (!/^\d{1,7}$/.test(digits)) throw new Error('names a database that is no number');
  return Number(digits);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
