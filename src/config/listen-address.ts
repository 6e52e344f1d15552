/** `host:port` or `unix:/path`, as the settings name where to listen. */

/** Names the setting among the problems when nothing can listen there. */
export function checkListen(name: string, listen: string, problems: string[]): void {
  const port = /^(?:\[[0-9a-f:.]+\]|[^:\s]+):(\d{1,5})$/i.exec(listen)?.[1];
  const valid = listen.startsWith('unix:') ? /^unix:(?:\/\/)?\/.+$/.test(listen) : Number(port) <= 65_535;
  if (!valid) {
    problems.push(`${name}: must be host:port or unix:/path`);
  }
}

/** True where only this machine can connect: what is said there crosses no network. */
export function isLocal(listen: string): boolean {
  return listen.startsWith('unix:') || /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):/.test(listen);
}
