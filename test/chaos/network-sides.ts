import { execFileSync } from 'node:child_process';

/**
 * Two networks of their own, with a wire between them that can be cut. What runs at a side sees its own loopback and, while
 * the wire is whole, the other side; files and unix sockets are those of the machine.
 */

export type Side = 'here' | 'there';
export const SIDES: readonly Side[] = ['here', 'there'];

/** Nobody else sees these addresses, so every run can have the same. */
const ADDRESS: Readonly<Record<Side, string>> = { here: '10.77.0.1', there: '10.77.0.2' };
const WIRE = 'wire';
/** A card that nobody has. */
const NOBODY = '02:00:00:00:00:01';

/** Why this machine cannot have them; undefined: it can. */
export function whyNoSides(): string | undefined {
  try {
    new NetworkSides().remove();
    return undefined;
  } catch (error) {
    return `no networks of their own for processes here: ${String(error).split('\n')[0] ?? ''}`;
  }
}

export class NetworkSides {
  private readonly names: Readonly<Record<Side, string>>;

  /** Throws where the tool (`ip`) or the rights are missing. */
  constructor() {
    const name = `shardkeep-chaos-${String(process.pid)}`;
    this.names = { here: `${name}-here`, there: `${name}-there` };
    try {
      for (const side of SIDES) ip('netns', 'add', this.names[side]);
      this.at('here', 'link', 'add', WIRE, 'type', 'veth', 'peer', 'name', WIRE, 'netns', this.names.there);
      for (const side of SIDES) {
        this.at(side, 'address', 'add', `${ADDRESS[side]}/24`, 'dev', WIRE);
        this.at(side, 'link', 'set', 'lo', 'up');
        this.at(side, 'link', 'set', WIRE, 'up');
      }
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  address(side: Side): string {
    return ADDRESS[side];
  }

  /** What a command begins with to run at a side. */
  command(side: Side): readonly string[] {
    return ['ip', 'netns', 'exec', this.names[side]];
  }

  /** Nothing arrives any more and nobody is told: what is sent goes to a card that nobody has. */
  cut(): void {
    for (const side of SIDES) {
      this.at(side, 'neighbour', 'replace', other(side), 'lladdr', NOBODY, 'dev', WIRE, 'nud', 'permanent');
    }
  }

  join(): void {
    for (const side of SIDES) this.at(side, 'neighbour', 'delete', other(side), 'dev', WIRE);
  }

  remove(): void {
    for (const side of SIDES) {
      try {
        ip('netns', 'delete', this.names[side]);
      } catch {
        // it was never made
      }
    }
  }

  private at(side: Side, ...args: readonly string[]): void {
    ip('-netns', this.names[side], ...args);
  }
}

function other(side: Side): string {
  return ADDRESS[side === 'here' ? 'there' : 'here'];
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
