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

/** True for a socket, and for nothing else that a wrong path could name. */
export function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}
