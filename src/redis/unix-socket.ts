import { lstatSync } from 'node:fs';
import { connect } from 'node:net';

/** True where somebody listens on this unix socket; a file that a killed process left behind does not answer. */
export function unixSocketAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => {
      resolve(false);
    });
  });
}

const PING_MS = 1_000;

/** True where a Redis serves on this unix socket: it listens, wants no password, and has loaded its data. */
export function unixSocketServes(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (serves: boolean): void => {
      probe.destroy();
      resolve(serves);
    };
    // one that stands still takes the connection and says nothing
    probe.setTimeout(PING_MS, () => {
      settle(false);
    });
    probe.on('connect', () => probe.write('PING\r\n'));
    probe.on('data', (reply) => {
      settle(reply.toString('latin1').startsWith('+PONG'));
    });
    probe.on('end', () => {
      settle(false);
    });
    probe.on('error', () => {
      settle(false);
    });
  });
}

/** True for a socket, and for nothing else that a wrong path could name. */
export function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}
