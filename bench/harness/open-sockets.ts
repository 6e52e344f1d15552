import { readdirSync, readlinkSync } from 'node:fs';

/** How many sockets a process has open, listeners among them. Linux only. */
export function countSockets(pid: number): number {
  const folder = `/proc/${String(pid)}/fd`;
  return readdirSync(folder).filter((fd) => isSocket(`${folder}/${fd}`)).length;
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    // closed since it was listed
    return false;
  }
}
