import { readFileSync } from 'node:fs';

/** The kernel counts in ticks of 10 ms (USER_HZ is 100 on every Linux that Node runs on), so spans last a second or more. */
const TICK_US = 10_000;

/** Places in /proc/<pid>/stat after the command, which stands in parentheses. */
const UTIME = 11;
const STIME = 12;
const CHILDREN_UTIME = 13;
const CHILDREN_STIME = 14;

function readTicks(pid: number | 'self', ...fields: readonly number[]): number {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field]), 0);
}

function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** CPU time of a process and the workers it runs, user and system, since they started. Linux only. */
export function readCpuUs(pid: number): number {
  const ownUs = readTicks(pid, UTIME, STIME) * TICK_US;
  return childrenOf(pid).reduce((sum, child) => sum + readCpuUs(child), ownUs);
}

/** CPU time of the children of this process that have ended. */
export function readEndedChildrenCpuUs(): number {
  return readTicks('self', CHILDREN_UTIME, CHILDREN_STIME) * TICK_US;
}

/** CPU time that every process of the machine used since it started, and what its host took away. */
export function readMachineBusyUs(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = line.split(/ +/).slice(1).map(Number);
  return (user + nice + system + irq + softIrq + steal) * TICK_US;
}

/** CPU time of this process and of its children that have ended. */
export function readOwnCpuUs(): number {
  return readTicks('self', UTIME, STIME, CHILDREN_UTIME, CHILDREN_STIME) * TICK_US;
}
